// Scaleout for Open WebUI on Azure: one resource group with the function app and what it needs, and in the groups of the
// cluster, the database server and the key vault nothing but the grants that the app's identity works with.
// No key, no password: storage, telemetry and the durable backend know the identity only.
targetScope = 'subscription'

@description('Name of the azd environment; part of every name.')
@minLength(1)
@maxLength(32)
param environmentName string

@description('Region of everything that is created. Choose the cluster\'s.')
param location string

@description('Resource group of the AKS cluster that runs Open WebUI.')
param clusterResourceGroup string

@description('Name of the AKS cluster.')
param clusterName string

@description('Kubernetes namespace of Open WebUI.')
param namespace string = 'ollama'

@description('Who decides what an identity may do in the cluster. azure: Azure RBAC, granted here. kubernetes: apply infra/kubernetes/rbac.')
@allowed([
  'azure'
  'kubernetes'
])
param kubernetesAuthorization string = 'azure'

@description('Name of the PostgreSQL Flexible Server.')
param postgresServer string

@description('Its resource group; empty: the cluster\'s.')
param postgresResourceGroup string = ''

@description('Name of the key vault that holds the administrator\'s password of PostgreSQL. It must use Azure RBAC.')
param keyVaultName string

@description('Its resource group; empty: the cluster\'s.')
param keyVaultResourceGroup string = ''

@description('The secrets that the app may read; each is granted on its own.')
param secretNames array = [
  'postgres-admin-password'
]

@description('How the app signs in to PostgreSQL: with the administrator password in the key vault, or as its identity.')
@allowed([
  'password'
  'entra'
])
param postgresAuth string = 'password'

@description('off, observe or act. Observe judges and reports and changes nothing.')
@allowed([
  'off'
  'observe'
  'act'
])
param guardMode string = 'observe'

@description('NCRONTAB of the health guard.')
param guardSchedule string = '0 * * * * *'

@description('JSON list of the Deployments to guard, with their policies; empty: the one that this app migrates.')
param guardTargets string = ''

@description('Where orchestrations are kept: the app\'s own storage account, or a Durable Task Scheduler.')
@allowed([
  'storage'
  'scheduler'
])
param durableBackend string = 'storage'

@description('none: public endpoints. create: a virtual network of its own, to be peered with the cluster\'s. existing: the two subnets below.')
@allowed([
  'none'
  'create'
  'existing'
])
param networking string = 'none'

@description('Address range of the network to create.')
param addressPrefix string = '10.78.0.0/24'

@description('existing: subnet for the app, delegated to Microsoft.App/environments, of /27 or larger.')
param appSubnetId string = ''

@description('existing: subnet for the private endpoints of the storage account; empty: none are made.')
param endpointSubnetId string = ''

@description('Client id of an Entra app registration; set: HTTP calls need its token. Empty: function keys alone.')
param authClientId string = ''

@description('Who gets the alerts by e-mail; empty: alerts show in the portal only.')
param alertEmail string = ''

var token = toLower(uniqueString(subscription().id, environmentName, location))
var tags = {
  'azd-env-name': environmentName
}
var databaseGroup = empty(postgresResourceGroup) ? clusterResourceGroup : postgresResourceGroup
var vaultGroup = empty(keyVaultResourceGroup) ? clusterResourceGroup : keyVaultResourceGroup
var privateStorage = networking == 'create' || (networking == 'existing' && !empty(endpointSubnetId))

resource group 'Microsoft.Resources/resourceGroups@2024-03-01' = {
  name: 'rg-scaleout-${environmentName}'
  location: location
  tags: tags
}

module identity 'modules/identity.bicep' = {
  name: 'scaleout-identity'
  scope: group
  params: {
    name: 'id-scaleout-${token}'
    location: location
    tags: tags
  }
}

module monitoring 'modules/monitoring.bicep' = {
  name: 'scaleout-monitoring'
  scope: group
  params: {
    token: token
    location: location
    tags: tags
    principalId: identity.outputs.principalId
  }
}

module alerts 'modules/alerts.bicep' = {
  name: 'scaleout-alerts'
  scope: group
  params: {
    token: token
    location: location
    tags: tags
    alertEmail: alertEmail
    workspaceName: monitoring.outputs.workspaceName
    guardRuns: guardMode != 'off'
  }
}

module network 'modules/network.bicep' = if (networking == 'create') {
  name: 'scaleout-network'
  scope: group
  params: {
    name: 'vnet-scaleout-${token}'
    location: location
    tags: tags
    addressPrefix: addressPrefix
  }
}

module storage 'modules/storage.bicep' = {
  name: 'scaleout-storage'
  scope: group
  params: {
    name: 'stscale${token}'
    location: location
    tags: tags
    principalId: identity.outputs.principalId
    publicAccess: !privateStorage
    queuesAndTables: durableBackend == 'storage'
  }
}

module endpoints 'modules/privateEndpoints.bicep' = if (privateStorage) {
  name: 'scaleout-endpoints'
  scope: group
  params: {
    location: location
    tags: tags
    storageName: storage.outputs.name
    subnetId: networking == 'create' ? network!.outputs.endpointSubnetId : endpointSubnetId
  }
}

module scheduler 'modules/durableTask.bicep' = if (durableBackend == 'scheduler') {
  name: 'scaleout-scheduler'
  scope: group
  params: {
    name: 'dts-scaleout-${token}'
    location: location
    tags: tags
    principalId: identity.outputs.principalId
  }
}

module functionApp 'modules/functionApp.bicep' = {
  name: 'scaleout-app'
  scope: group
  params: {
    name: 'func-scaleout-${token}'
    location: location
    tags: tags
    identityId: identity.outputs.id
    identityClientId: identity.outputs.clientId
    storageName: storage.outputs.name
    packageContainer: storage.outputs.packageContainer
    insightsName: monitoring.outputs.insightsName
    schedulerEndpoint: durableBackend == 'scheduler' ? scheduler!.outputs.endpoint : ''
    subnetId: networking == 'create' ? network!.outputs.appSubnetId : (networking == 'existing' ? appSubnetId : '')
    authClientId: authClientId
    clusterResourceGroup: clusterResourceGroup
    clusterName: clusterName
    postgresServer: postgresServer
    postgresResourceGroup: databaseGroup
    keyVaultName: keyVaultName
    postgresAuth: postgresAuth
    guardMode: guardMode
    guardSchedule: guardSchedule
    guardTargets: guardTargets
  }
}

module clusterAccess 'modules/clusterAccess.bicep' = {
  name: 'scaleout-cluster-access-${token}'
  scope: resourceGroup(clusterResourceGroup)
  params: {
    clusterName: clusterName
    namespace: namespace
    principalId: identity.outputs.principalId
    throughAzure: kubernetesAuthorization == 'azure'
    token: token
  }
}

module databaseAccess 'modules/databaseAccess.bicep' = {
  name: 'scaleout-database-access-${token}'
  scope: resourceGroup(databaseGroup)
  params: {
    serverName: postgresServer
    principalId: identity.outputs.principalId
    token: token
  }
}

module vaultAccess 'modules/vaultAccess.bicep' = {
  name: 'scaleout-vault-access-${token}'
  scope: resourceGroup(vaultGroup)
  params: {
    keyVaultName: keyVaultName
    secretNames: secretNames
    principalId: identity.outputs.principalId
  }
}

@description('The app: its name for `azd deploy`, `az functionapp` and the URL.')
output FUNCTION_APP_NAME string = functionApp.outputs.name

@description('Where the HTTP interface is.')
output FUNCTION_APP_URL string = functionApp.outputs.url

@description('Object id of the identity: the user name that Kubernetes sees.')
output IDENTITY_OBJECT_ID string = identity.outputs.principalId

@description('The resource group to remove when all is done.')
output RESOURCE_GROUP string = group.name
