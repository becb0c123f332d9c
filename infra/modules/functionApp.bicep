// The function app on Flex Consumption, Python 3.13, and its settings. The settings hold names and addresses only.
param name string
param location string
param tags object
param identityId string
param identityClientId string
param storageName string
param packageContainer string
param insightsName string

@description('Endpoint of the Durable Task Scheduler; empty: orchestrations are kept in the storage account.')
param schedulerEndpoint string

@description('Subnet for outgoing calls; empty: none.')
param subnetId string
param authClientId string
param clusterResourceGroup string
param clusterName string
param postgresServer string
param postgresResourceGroup string
param keyVaultName string
param postgresAuth string
param guardMode string
param guardSchedule string
param guardTargets string

var hub = 'scaleout'

resource account 'Microsoft.Storage/storageAccounts@2024-01-01' existing = {
  name: storageName
}

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: insightsName
}

resource plan 'Microsoft.Web/serverfarms@2024-04-01' = {
  name: 'plan-${name}'
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    reserved: true
  }
}

resource app 'Microsoft.Web/sites@2024-04-01' = {
  name: name
  location: location
  tags: union(tags, {
    'azd-service-name': 'app'
  })
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    siteConfig: {
      minTlsVersion: '1.2'
      http20Enabled: true
    }
    functionAppConfig: {
      runtime: {
        name: 'python'
        version: '3.13'
      }
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${account.properties.primaryEndpoints.blob}${packageContainer}'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityId
          }
        }
      }
      scaleAndConcurrency: {
        // One instance that is always there for orchestrations and activities: an approval, an abort or the next step of a
        // migration waits for no cold start. docs/deploy.md says what it costs.
        // Source: learn.microsoft.com/azure/azure-functions/flex-consumption-plan, "Always ready instances" (group `durable`)
        alwaysReady: [
          {
            name: 'durable'
            instanceCount: 1
          }
        ]
        instanceMemoryMB: 2048
        maximumInstanceCount: 40
      }
    }
  }
}

resource noFtpPassword 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-04-01' = {
  parent: app
  name: 'ftp'
  properties: {
    allow: false
  }
}

resource noDeployPassword 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-04-01' = {
  parent: app
  name: 'scm'
  properties: {
    allow: false
  }
}

resource settings 'Microsoft.Web/sites/config@2024-04-01' = {
  parent: app
  name: 'appsettings'
  properties: union(
    {
      // The host: storage and telemetry through the identity.
      AzureWebJobsStorage__credential: 'managedidentity'
      AzureWebJobsStorage__clientId: identityClientId
      AzureWebJobsStorage__blobServiceUri: account.properties.primaryEndpoints.blob
      AzureWebJobsStorage__queueServiceUri: account.properties.primaryEndpoints.queue
      AzureWebJobsStorage__tableServiceUri: account.properties.primaryEndpoints.table
      APPLICATIONINSIGHTS_CONNECTION_STRING: insights.properties.ConnectionString
      APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identityClientId};Authorization=AAD'
      // Telemetry goes to the component above and nowhere else: no usage statistics, no remote configuration of the exporter.
      APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL: 'true'
      APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED: 'true'
      // The worker gives every invocation the host's trace context, and the app sends its own telemetry.
      PYTHON_ENABLE_OPENTELEMETRY: 'true'
      AzureFunctionsJobHost__extensions__durableTask__hubName: hub
      // The app: shared/model/settings.py says what each is for.
      AZURE_CLIENT_ID: identityClientId
      SCALEOUT_SUBSCRIPTION_ID: subscription().subscriptionId
      SCALEOUT_RESOURCE_GROUP: clusterResourceGroup
      SCALEOUT_CLUSTER: clusterName
      SCALEOUT_KEY_VAULT: 'https://${keyVaultName}${environment().suffixes.keyvaultDns}'
      SCALEOUT_POSTGRES_SERVER: postgresServer
      SCALEOUT_POSTGRES_RESOURCE_GROUP: postgresResourceGroup
      SCALEOUT_POSTGRES_AUTH: postgresAuth
      SCALEOUT_POSTGRES_ENTRA_USER: last(split(identityId, '/'))
      SCALEOUT_POSTGRES_SSLMODE: 'verify-full'
      SCALEOUT_POSTGRES_SSLROOTCERT: ''
      SCALEOUT_POSTGRES_PGBOUNCER_PORT: '6432'
      SCALEOUT_GUARD_SCHEDULE: guardSchedule
      SCALEOUT_GUARD_MODE: guardMode
      SCALEOUT_GUARD_TARGETS: guardTargets
    },
    empty(schedulerEndpoint)
      ? {}
      : {
          AzureFunctionsJobHost__extensions__durableTask__storageProvider__type: 'azureManaged'
          AzureFunctionsJobHost__extensions__durableTask__storageProvider__connectionStringName: 'DURABLE_TASK_SCHEDULER'
          DURABLE_TASK_SCHEDULER: 'Endpoint=${schedulerEndpoint};Authentication=ManagedIdentity;ClientID=${identityClientId}'
        }
  )
}

resource signIn 'Microsoft.Web/sites/config@2024-04-01' = if (!empty(authClientId)) {
  parent: app
  name: 'authsettingsV2'
  properties: {
    platform: {
      enabled: true
    }
    globalValidation: {
      requireAuthentication: true
      unauthenticatedClientAction: 'Return401'
    }
    identityProviders: {
      azureActiveDirectory: {
        enabled: true
        registration: {
          clientId: authClientId
          openIdIssuer: '${environment().authentication.loginEndpoint}${tenant().tenantId}/v2.0'
        }
        validation: {
          allowedAudiences: [
            'api://${authClientId}'
          ]
        }
      }
    }
  }
}

output name string = app.name
output url string = 'https://${app.properties.defaultHostName}'
