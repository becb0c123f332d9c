from fix_azure import azure, azure_process, servers, target
from fix_kubernetes_api import kubernetes_api

__all__ = ["azure", "azure_process", "kubernetes_api", "servers", "target"]
