"""What a rehearsal runs on: the user's data or the sample, and a real Open WebUI where its environment is named."""

import shutil
from collections.abc import Callable
from pathlib import Path

from local.kubernetes.kubelet.process import own_root
from local.real_open_webui import RealOpenWebui, find_real_open_webui
from local.rehearsal.world import Layout
from local.sample import extract
from shared.errors import ConfigurationError


def find_real(directory: Path | None, say: Callable[[str], None]) -> RealOpenWebui | None:
    """The environment that was asked for, if any; ConfigurationError lists what is wrong with it."""
    if directory is None:
        return None
    found = find_real_open_webui(directory)
    if problem := own_root.problem():
        say(
            f"[yellow]no mounts of their own for the pods: {problem}. Open WebUI does not find uploads by the paths "
            "that its database has of them; as root, or where user namespaces are allowed, it does[/yellow]"
        )
    return found


def find_data(
    data: Path | None, app_sql: Path | None, kubeconfig: Path | None, layout: Layout, real: RealOpenWebui | None
) -> tuple[Path, Path]:
    """The user's own data, or the sample; ConfigurationError names every path that is not there."""
    if (data is None) != (app_sql is None):
        raise ConfigurationError(
            "--data and --app-sql belong together: the volume's folder and a dump of the application database",
            hint="pg_dump --format plain --no-owner openwebui > app.sql",
        )
    if data is None or app_sql is None:
        sample = extract(layout.sample)
        if real and real.sample_model:
            shutil.copytree(real.sample_model, sample.model, dirs_exist_ok=True)
        return sample.data, sample.app_sql
    missing = [str(path) for path in (data, app_sql) if not path.exists()]
    if kubeconfig and not kubeconfig.exists():
        missing.append(str(kubeconfig))
    if missing:
        raise ConfigurationError(f"there is no {', no '.join(missing)}")
    if not data.is_dir():
        raise ConfigurationError(f"{data} is not a folder", hint="Unpack the volume first.")
    return data, app_sql
