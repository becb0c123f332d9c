"""Run the local cluster: `python -m local.kubernetes --dir DIR`."""

import argparse
import asyncio
import json
import logging
import sys
from datetime import timedelta
from pathlib import Path

import yaml

from local.kubernetes.api_server.access import DenyRule, Grant, grants_of
from local.kubernetes.controllers.manager import Timing
from local.kubernetes.server import Server, Settings, erase, until_terminated


def main() -> None:
    arguments = _parser().parse_args()
    logging.basicConfig(level=arguments.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if arguments.fresh:
        erase(arguments.dir)
    timing = Timing(
        autoscaler_sync=timedelta(seconds=arguments.autoscaler_sync_seconds),
        autoscaler_haste=arguments.autoscaler_haste,
        job_backoff=timedelta(seconds=arguments.job_backoff_seconds),
    )
    granted = tuple(grant for file in arguments.grant for grant in file) if arguments.grant else None
    settings = Settings(arguments.dir, arguments.port, tuple(arguments.deny), granted, timing)
    try:
        asyncio.run(_serve(settings))
    except OSError as error:
        sys.exit(f"error: the local cluster cannot run in {arguments.dir}: {error}")


async def _serve(settings: Settings) -> None:
    server = Server(settings)
    await server.start()
    print("ready", json.dumps({"server": server.url, "kubeconfig": str(settings.kubeconfig)}), flush=True)
    try:
        await until_terminated()
    finally:
        await server.stop()


def _read_grants(file: str) -> tuple[Grant, ...]:
    try:
        granted = grants_of(Path(file).read_text())
    except (OSError, yaml.YAMLError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if not granted:
        raise argparse.ArgumentTypeError(f"{file} holds no Role and no ClusterRole")
    return granted


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m local.kubernetes",
        description="A Kubernetes API server with its controllers on 127.0.0.1. Writes DIR/kubeconfig and, for a user "
        "whose rights are limited by --deny, DIR/kubeconfig-limited. Prints `ready {json}` when it serves.",
    )
    parser.add_argument("--dir", type=Path, required=True, help="where state, certificates and kubeconfigs are kept")
    parser.add_argument("--port", type=int, default=0, help="port; by default that of the last time, or any free one")
    parser.add_argument("--fresh", action="store_true", help="start empty: forget what an earlier run left in DIR")
    parser.add_argument(
        "--deny",
        type=DenyRule.parse,
        action="append",
        default=[],
        metavar="VERB:RESOURCE[:NAMESPACE]",
        help="what the limited user may not do, e.g. create:pods/exec or *:secrets:ollama; may be repeated",
    )
    parser.add_argument(
        "--grant",
        type=_read_grants,
        action="append",
        default=[],
        metavar="FILE",
        help="let the limited user do only what the Roles and ClusterRoles in this manifest allow; may be repeated",
    )
    parser.add_argument(
        "--autoscaler-sync-seconds", type=float, default=15.0, help="how often autoscalers look (default 15, as in AKS)"
    )
    parser.add_argument(
        "--autoscaler-haste",
        type=float,
        default=1.0,
        metavar="TIMES",
        help="let their stabilization windows and periods pass so many times as fast (default 1)",
    )
    parser.add_argument(
        "--job-backoff-seconds",
        type=float,
        default=10.0,
        help="pause before a Job replaces its first failed pod; doubles with every further one (default 10)",
    )
    parser.add_argument("--log-level", default="WARNING", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    return parser


if __name__ == "__main__":
    main()
