// What the app may do with the cluster: fetch the user's kubeconfig, and, where Azure decides over the cluster's objects,
// work in one namespace and with the few kinds that have none.
param clusterName string
param namespace string
param principalId string

@description('Whether Azure RBAC decides inside the cluster; otherwise infra/kubernetes/rbac grants the same.')
param throughAzure bool
param token string

// Source: learn.microsoft.com/azure/role-based-access-control/built-in-roles/containers
var clusterUser = '4abbcc35-e782-43d8-92c5-2d3f1bd2253f'

resource cluster 'Microsoft.ContainerService/managedClusters@2024-09-01' existing = {
  name: clusterName
}

// Grants below a cluster are made at <cluster>/namespaces/<name>. There is no such resource, only such a scope, so Bicep
// knows no type for it. Source: learn.microsoft.com/azure/aks/manage-azure-rbac; github.com/mspnp/aks-baseline does the same.
#disable-next-line BCP081
resource space 'Microsoft.ContainerService/managedClusters/namespaces@2024-09-01' existing = {
  parent: cluster
  name: namespace
}

resource credentials 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(cluster.id, principalId, clusterUser)
  scope: cluster
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', clusterUser)
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}

resource namespaceRole 'Microsoft.Authorization/roleDefinitions@2022-04-01' = if (throughAzure) {
  name: guid(resourceGroup().id, token, 'scaleout-namespace')
  properties: {
    roleName: 'Scaleout namespace ${token}'
    description: 'What Scaleout for Open WebUI does in the namespace of Open WebUI.'
    type: 'CustomRole'
    assignableScopes: [
      resourceGroup().id
    ]
    permissions: [
      {
        actions: []
        dataActions: [
          'Microsoft.ContainerService/managedClusters/apps/deployments/read'
          'Microsoft.ContainerService/managedClusters/apps/deployments/write'
          'Microsoft.ContainerService/managedClusters/apps/deployments/delete'
          'Microsoft.ContainerService/managedClusters/apps/replicasets/read'
          'Microsoft.ContainerService/managedClusters/autoscaling/horizontalpodautoscalers/read'
          'Microsoft.ContainerService/managedClusters/autoscaling/horizontalpodautoscalers/write'
          'Microsoft.ContainerService/managedClusters/autoscaling/horizontalpodautoscalers/delete'
          'Microsoft.ContainerService/managedClusters/batch/jobs/read'
          'Microsoft.ContainerService/managedClusters/batch/jobs/write'
          'Microsoft.ContainerService/managedClusters/batch/jobs/delete'
          'Microsoft.ContainerService/managedClusters/configmaps/read'
          'Microsoft.ContainerService/managedClusters/configmaps/write'
          'Microsoft.ContainerService/managedClusters/configmaps/delete'
          'Microsoft.ContainerService/managedClusters/events/read'
          'Microsoft.ContainerService/managedClusters/metrics.k8s.io/pods/read'
          'Microsoft.ContainerService/managedClusters/persistentvolumeclaims/read'
          'Microsoft.ContainerService/managedClusters/persistentvolumeclaims/write'
          'Microsoft.ContainerService/managedClusters/persistentvolumeclaims/delete'
          'Microsoft.ContainerService/managedClusters/pods/read'
          'Microsoft.ContainerService/managedClusters/pods/exec/action'
          'Microsoft.ContainerService/managedClusters/policy/poddisruptionbudgets/read'
          'Microsoft.ContainerService/managedClusters/policy/poddisruptionbudgets/write'
          'Microsoft.ContainerService/managedClusters/policy/poddisruptionbudgets/delete'
          'Microsoft.ContainerService/managedClusters/secrets/read'
          'Microsoft.ContainerService/managedClusters/secrets/write'
          'Microsoft.ContainerService/managedClusters/secrets/delete'
          'Microsoft.ContainerService/managedClusters/services/read'
          'Microsoft.ContainerService/managedClusters/services/write'
          'Microsoft.ContainerService/managedClusters/services/delete'
        ]
      }
    ]
  }
}

resource clusterRole 'Microsoft.Authorization/roleDefinitions@2022-04-01' = if (throughAzure) {
  name: guid(resourceGroup().id, token, 'scaleout-cluster')
  properties: {
    roleName: 'Scaleout cluster ${token}'
    description: 'The kinds without a namespace that Scaleout for Open WebUI works with: volumes, storage classes, nodes.'
    type: 'CustomRole'
    assignableScopes: [
      resourceGroup().id
    ]
    permissions: [
      {
        actions: []
        dataActions: [
          'Microsoft.ContainerService/managedClusters/namespaces/read'
          'Microsoft.ContainerService/managedClusters/nodes/read'
          'Microsoft.ContainerService/managedClusters/persistentvolumes/read'
          'Microsoft.ContainerService/managedClusters/persistentvolumes/write'
          'Microsoft.ContainerService/managedClusters/storage.k8s.io/storageclasses/read'
          'Microsoft.ContainerService/managedClusters/storage.k8s.io/storageclasses/write'
          'Microsoft.ContainerService/managedClusters/storage.k8s.io/storageclasses/delete'
        ]
      }
    ]
  }
}

resource namespaceGrant 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (throughAzure) {
  name: guid(cluster.id, namespace, principalId, 'scaleout-namespace')
  scope: space
  properties: {
    roleDefinitionId: namespaceRole.id
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}

resource clusterGrant 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (throughAzure) {
  name: guid(cluster.id, principalId, 'scaleout-cluster')
  scope: cluster
  properties: {
    roleDefinitionId: clusterRole.id
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}
