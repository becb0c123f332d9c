"""azd takes away no more than it made."""

import re

import yaml
from packaging.specifiers import SpecifierSet
from project import ROOT

MANUAL = (ROOT / "docs/deploy.md").read_text()
FIRST_SAFE = "1.24.1"
"""Before it `azd down` took groups that our template only refers to, the cluster's and the vault's, for its own.
Source: Azure/azure-dev, cli/azd/CHANGELOG.md, 1.24.1, #7698"""


def test_an_azd_that_deletes_others_groups_is_refused() -> None:
    wanted = SpecifierSet(yaml.safe_load((ROOT / "azure.yaml").read_text())["requiredVersions"]["azd"])
    assert FIRST_SAFE in wanted
    assert "1.24.0" not in wanted
    assert "1.18.0" not in wanted


def test_the_manual_says_which_azd_it_needs() -> None:
    before = MANUAL.partition("## 1. Sign in")[0]
    assert f"azd` {FIRST_SAFE}" in before


def test_the_manual_removes_our_group_by_name_and_nothing_else() -> None:
    removal = MANUAL.partition("## Remove everything")[2].partition("\n## ")[0]
    commands = "\n".join(re.findall(r"```bash\n(.*?)```", removal, re.DOTALL))
    assert "azd down" not in commands
    assert re.findall(r"az group delete --name (\S+ \S+ \S+ \S+)", commands) == [
        '"$(azd env get-value RESOURCE_GROUP)"'
    ]
