"""The configuration a function's durable client is given: where the engine is, and the URLs it may hand out."""

import json
from typing import Any
from urllib.parse import quote

WEBHOOK = "/runtime/webhooks/durabletask"

LARGEST_MESSAGE = 2**31 - 1
"""Bytes. Results may be large; gRPC's default of 4 MiB would lose them."""


def client_configuration(base_url: str, engine: str, hub: str, system_key: str) -> str:
    """Build the JSON the durable extension passes to a `durableClient` binding.

    Source: azure-functions-durable-extension, BindingHelper.DurableOrchestrationClientToString.
    """
    webhook = base_url + WEBHOOK
    query = f"taskHub={quote(hub)}&connection=Storage&code={quote(system_key)}"
    instance = f"{webhook}/instances/INSTANCEID"
    wait = "timeout={timeoutInSeconds}&pollingInterval={intervalInSeconds}"
    start = f"{webhook}/orchestrators/{{functionName}}"
    urls: dict[str, Any] = {
        "id": "INSTANCEID",
        "statusQueryGetUri": f"{instance}?{query}",
        "sendEventPostUri": f"{instance}/raiseEvent/{{eventName}}?{query}",
        "purgeHistoryDeleteUri": f"{instance}?{query}",
        "restartPostUri": f"{instance}/restart?{query}",
    }
    for verb in ("terminate", "rewind", "suspend", "resume"):
        urls[f"{verb}PostUri"] = f"{instance}/{verb}?reason={{text}}&{query}"
    return json.dumps(
        {
            "taskHubName": hub,
            "connectionName": "Storage",
            "requiredQueryStringParameters": query,
            "baseUrl": webhook,
            "httpBaseUrl": webhook,
            "rpcBaseUrl": f"http://{engine}",
            "maxGrpcMessageSizeInBytes": LARGEST_MESSAGE,
            "managementUrls": urls,
            "creationUrls": {
                "createNewInstancePostUri": f"{start}[/{{instanceId}}]?{query}",
                "createAndWaitOnNewInstancePostUri": f"{start}[/{{instanceId}}]?{wait}&{query}",
            },
        }
    )


def management_payload(configuration: str, instance: str) -> dict[str, str]:
    """List the management URLs of one instance, as a start over HTTP answers them."""
    urls: dict[str, str] = json.loads(configuration)["managementUrls"]
    return {name: url.replace("INSTANCEID", quote(instance, safe="")) for name, url in urls.items()} | {"id": instance}
