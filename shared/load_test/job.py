"""The load test's Jobs: Locust's image with our program from a ConfigMap. Pure: values in, manifests out."""

from dataclasses import dataclass

from shared.load_test.record import PROGRAM
from shared.model.ports import Manifest
from shared.names import Names
from shared.programs import job_protocol

CODE = "/scaleout"
CREDENTIAL, PASSWORD = "administrator", "password"
"""Keys of the Secret; the program reads them as SCALEOUT_ADMINISTRATOR and SCALEOUT_PASSWORD."""
RESTRICTED = {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
"""As the restricted Pod Security Standard wants it; 1000 is the user of Locust's image."""
SLACK_SECONDS = 600
"""Of a Job beyond the load itself: the image's pull, the accounts, and the users' end."""
CLEANING_SECONDS = 600


@dataclass(frozen=True, slots=True)
class LoadJob:
    """What all Jobs of one test share."""

    names: Names
    image: str
    url: str
    users: int
    seconds: int

    @property
    def prefix(self) -> str:
        """Of the names of all that the test makes in Open WebUI."""
        return f"scaleout-load-{self.names.run}"

    def marker(self, trial: int) -> str:
        """Stands in the query of every request of a trial."""
        return f"scaleout-load={self.names.run}.{trial}"

    def trial(self, number: int) -> job_protocol.Program:
        return job_protocol.Program(self.names.job(f"load-{number}"), "load", "run")

    @property
    def cleaning(self) -> job_protocol.Program:
        return job_protocol.Program(self.names.job("load-clean"), "load", "clean")


def run_manifest(job: LoadJob, number: int, placement: Manifest) -> Manifest:
    """One trial. Not repeated by Kubernetes: half a test and another one are no measurement."""
    load = ["--users", str(job.users), "--seconds", str(job.seconds), "--marker", job.marker(number)]
    pod = _pod(job, ["run", *_where(job), *load], placement)
    deadline = 2 * job.seconds + SLACK_SECONDS
    return job_protocol.job(job.trial(number).job, job.names.run, pod, retries=0, deadline_seconds=deadline)


def clean_manifest(job: LoadJob, placement: Manifest) -> Manifest:
    """Removes what the test made in Open WebUI; repeated when it is interrupted."""
    pod = _pod(job, ["clean", *_where(job)], placement)
    return job_protocol.job(job.cleaning.job, job.names.run, pod, retries=2, deadline_seconds=CLEANING_SECONDS)


def _where(job: LoadJob) -> list[str]:
    return ["--url", job.url, "--prefix", job.prefix]


def _pod(job: LoadJob, arguments: list[str], placement: Manifest) -> Manifest:
    secret = job.names.load_test
    return {
        "volumes": [{"name": "code", "configMap": {"name": secret}}],
        "containers": [
            {
                "name": "load",
                "image": job.image,
                "command": ["python3", f"{CODE}/{PROGRAM}", *arguments],
                "env": [
                    {"name": f"SCALEOUT_{key.upper()}", "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
                    for key in (CREDENTIAL, PASSWORD)
                ],
                "volumeMounts": [{"name": "code", "mountPath": CODE, "readOnly": True}],
                "resources": {"requests": {"cpu": "500m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            }
        ],
        "automountServiceAccountToken": False,
        "securityContext": RESTRICTED,
        **placement,
    }
