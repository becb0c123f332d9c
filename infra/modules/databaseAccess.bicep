// What the app may do with the database server through Azure: read it, read and write its parameters. Nothing else: it can
// neither restart, resize nor delete the server, nor reset its password. (Where the status of a running change may not be
// read with so narrow a grant, the app watches the parameter itself.)
param serverName string
param principalId string
param token string

resource server 'Microsoft.DBforPostgreSQL/flexibleServers@2024-08-01' existing = {
  name: serverName
}

resource parametersRole 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(resourceGroup().id, token, 'scaleout-database')
  properties: {
    roleName: 'Scaleout database parameters ${token}'
    description: 'Read a PostgreSQL Flexible Server and set its parameters, such as the allow-list of extensions.'
    type: 'CustomRole'
    assignableScopes: [
      resourceGroup().id
    ]
    permissions: [
      {
        actions: [
          'Microsoft.DBforPostgreSQL/flexibleServers/read'
          'Microsoft.DBforPostgreSQL/flexibleServers/configurations/read'
          'Microsoft.DBforPostgreSQL/flexibleServers/configurations/write'
        ]
      }
    ]
  }
}

resource grant 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(server.id, principalId, 'scaleout-database')
  scope: server
  properties: {
    roleDefinitionId: parametersRole.id
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}
