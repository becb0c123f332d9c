"""Questions about oneself: who am I, and may I do this?"""

from local.kubernetes.api_server.access import Action, User
from local.kubernetes.model.kinds import ACCESS_REVIEWS, SUBJECT_REVIEWS
from local.kubernetes.model.objects import Object
from local.kubernetes.model.status_errors import bad_request


def review_access(user: User, body: Object) -> Object:
    """Answer a SelfSubjectAccessReview by the very rules that requests are checked with."""
    spec = body.get("spec") or {}
    if "resourceAttributes" in spec:
        wanted = spec["resourceAttributes"]
        resource = "/".join(filter(None, (wanted.get("resource", ""), wanted.get("subresource", ""))))
        verb, group = wanted.get("verb", ""), wanted.get("group", "")
        allowed = user.may(Action(verb, group, resource, wanted.get("namespace", ""), wanted.get("name", "")))
    elif "nonResourceAttributes" in spec:
        allowed = user.may_read(spec["nonResourceAttributes"].get("path", ""))
    else:
        raise bad_request("exactly one of nonResourceAttributes or resourceAttributes must be specified")
    return {
        "kind": ACCESS_REVIEWS.kind,
        "apiVersion": ACCESS_REVIEWS.api_version,
        "metadata": {},
        "spec": spec,
        "status": {"allowed": allowed},
    }


def review_subject(user: User) -> Object:
    return {
        "kind": SUBJECT_REVIEWS.kind,
        "apiVersion": SUBJECT_REVIEWS.api_version,
        "metadata": {},
        "status": {"userInfo": {"username": user.name, "groups": list(user.groups)}},
    }
