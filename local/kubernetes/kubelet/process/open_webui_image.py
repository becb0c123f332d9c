"""Open WebUI's image: the stand-in, or a real one's Python environment where the kubelet was given one.

Source: open-webui 0.12, Dockerfile (ENV, WORKDIR) and backend/start.sh. What the image has for its own build, CUDA and
Ollama is left out, and so are its addresses of model servers, which the settings in the database replace.
"""

import shlex
from pathlib import Path

from local.kubernetes.kubelet.process import own_root
from local.kubernetes.kubelet.process.image import Commands, Image

_HOME = "/app/backend"
_DATA = f"{_HOME}/data"
_STATIC = f"{_HOME}/open_webui/static"
"""The container's own, as in the real image, where its place in the package says it and no variable does. It is wiped
at every start, so it must never be the environment's, which all pods share."""
_MODELS = f"{_DATA}/cache/embedding/models"
"""In the real image filled when it is built, so the chart's `copy-app-data` finds something to copy."""
_STANDIN_ENVIRONMENT = {"DATA_DIR": _DATA, "STATIC_DIR": _STATIC, "PORT": "8080"}
_REAL_ENVIRONMENT = {
    **_STANDIN_ENVIRONMENT,
    "ENV": "prod",
    "DOCKER": "true",
    "SCARF_NO_ANALYTICS": "true",
    "DO_NOT_TRACK": "true",
    "ANONYMIZED_TELEMETRY": "false",
    "WHISPER_MODEL_DIR": f"{_DATA}/cache/whisper/models",
    "TIKTOKEN_CACHE_DIR": f"{_DATA}/cache/tiktoken",
    "SENTENCE_TRANSFORMERS_HOME": _MODELS,
    "HF_HOME": _MODELS,
}
_START = """
if [ -z "$WEBUI_SECRET_KEY$WEBUI_JWT_SECRET_KEY" ]; then
  [ -e .webui_secret_key ] || head -c 12 /dev/urandom | base64 > .webui_secret_key
  WEBUI_SECRET_KEY=$(cat .webui_secret_key)
  export WEBUI_SECRET_KEY
fi
exec {python} {command} serve --host "$HOST" --port "$PORT"
""".strip()
"""start.sh makes a session key where none is given: the command itself refuses an empty one."""


def open_webui_image(commands: Commands) -> Image:
    real = commands.open_webui
    return Image(
        entrypoint=("open-webui",),
        environment={"PATH": _real(commands, real), **_REAL_ENVIRONMENT} if real else _standin(commands),
        directories=(_DATA, _MODELS, _STATIC),
        working_directory=_HOME,
        own_root=real is not None and own_root.problem() is None,
    )


def _standin(commands: Commands) -> dict[str, str]:
    path = commands.write("open-webui", open_webui=commands.module("local.open_webui"))
    return {"PATH": path, **_STANDIN_ENVIRONMENT}


def _real(commands: Commands, environment: Path) -> str:
    """Write the real one's commands, with its own interpreter; its PATH."""
    python, command = (shlex.quote(str(environment / "bin" / name)) for name in ("python", "open-webui"))
    interpreter = f'exec {python} "$@"'
    start = _START.format(python=python, command=command)
    return commands.write("open-webui-real", python=interpreter, python3=interpreter, open_webui=start)
