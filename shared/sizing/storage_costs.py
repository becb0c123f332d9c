"""What the storage costs a month, before and after. Pure.

The default prices are the runbook's, in US dollars: 1.54 for a 10 GiB premium disk, about 200 for 1 TiB of Azure Files
Premium. They are list prices of one region; a request's options may name others.
"""

import re
from dataclasses import dataclass

DISK_PER_GIB = 0.154
FILES_PER_GIB = 200 / 1024
GIB = {"Mi": 1 / 1024, "Gi": 1.0, "Ti": 1024.0}


@dataclass(frozen=True, slots=True)
class Prices:
    """US dollars a GiB and month."""

    disk: float = DISK_PER_GIB
    files: float = FILES_PER_GIB

    @property
    def are_the_runbooks(self) -> bool:
        return self == Prices()


@dataclass(frozen=True, slots=True)
class MonthlyCost:
    """US dollars a month."""

    before: float
    meanwhile: float
    """While the old disk is kept beside the share."""
    after: float
    explanation: str


def gibibytes(size: str) -> float:
    """A Kubernetes quantity such as 10Gi in GiB; 0 when it is not one."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(Mi|Gi|Ti)", size)
    return float(match[1]) * GIB[match[2]] if match else 0.0


def monthly_cost(disk_size: str, share_size: str, prices: Prices, *, creates_share: bool) -> MonthlyCost:
    """The disk goes only with the last phase, retire_source; a share that was there already costs nothing more."""
    disk, share = gibibytes(disk_size) * prices.disk, gibibytes(share_size) * prices.files
    before = disk + (0.0 if creates_share else share)
    explanation = (
        f"disk {disk_size} ${disk:,.2f}, share {share_size} ${share:,.2f}; the disk is kept until it is retired"
    )
    return MonthlyCost(round(before, 2), round(disk + share, 2), round(share, 2), explanation)
