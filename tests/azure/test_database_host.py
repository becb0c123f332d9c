"""The administrator's login goes to the Flexible Server that the request names, and to no other host."""

import pytest

from shared.adapters.database_host import admitted, canonical_name
from shared.errors import ConfigurationError

FQDN = "psql.postgres.database.azure.com"
DNS = {
    FQDN: "abc.rs-123.postgres.database.azure.com",
    "db.corp.example": "abc.rs-123.postgres.database.azure.com",
    "webui.writer.postgres.database.azure.com": FQDN,
    "evil.example": "evil.example",
    "10.0.0.4": "10.0.0.4",
    "other.postgres.database.azure.com": "xyz.rs-9.postgres.database.azure.com",
}


def admit(host: str, fqdn: str = FQDN) -> str:
    return admitted(host, "psql", fqdn, lambda name: DNS.get(name, ""))


@pytest.mark.parametrize(
    "host",
    [FQDN, FQDN.upper(), f"{FQDN}.", "psql.private.postgres.database.azure.com",
     "psql.privatelink.postgres.database.azure.com", "psql.postgres.database.usgovcloudapi.net"],
)  # fmt: skip
def test_the_servers_own_names(host: str) -> None:
    assert admit(host) == host


@pytest.mark.parametrize("host", ["db.corp.example", "webui.writer.postgres.database.azure.com"])
def test_an_alias_is_followed_to_the_name_that_the_certificate_is_for(host: str) -> None:
    assert admit(host) == FQDN


@pytest.mark.parametrize(
    "host",
    ["evil.example", "other.postgres.database.azure.com", "psql.evil.example", "psql.x.postgres.database.azure.com",
     "psql.postgres.database.azure.com.evil.example", "10.0.0.4", "not-there.example", "", f"{FQDN},evil.example"],
)  # fmt: skip
def test_every_other_host_gets_nothing(host: str) -> None:
    with pytest.raises(ConfigurationError, match="no name of the Flexible Server psql"):
        admit(host)


def test_without_a_name_from_arm_only_the_servers_own_names_count() -> None:
    assert admit(FQDN, fqdn="") == FQDN
    with pytest.raises(ConfigurationError):
        admit("db.corp.example", fqdn="")


def test_an_address_has_no_other_name() -> None:
    assert canonical_name("127.0.0.1") == "127.0.0.1"
