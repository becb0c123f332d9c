// Alerts on the app's telemetry and the workbook that shows it. Apart from what the app needs, so that it is made whatever
// becomes of these.
param token string
param location string
param tags object
param alertEmail string

@description('Name of the workspace that the queries ask.')
param workspaceName string

@description('Whether the health guard is expected to run.')
param guardRuns bool

// The events are those of shared/telemetry.py; tests/telemetry sends each and finds every field that is asked for here.
var rules = [
  {
    name: 'needs-an-operator'
    title: 'A migration or the guard needs an operator'
    severity: 1
    query: 'AppEvents | where Name == "operator_needed"'
    window: 'PT5M'
    operator: 'GreaterThan'
    threshold: 0
  }
  {
    name: 'run-failed'
    title: 'A migration failed and was undone, or halted'
    severity: 2
    query: 'AppEvents | where Name == "run_ended" and tostring(Properties.failed) == "true"'
    window: 'PT5M'
    operator: 'GreaterThan'
    threshold: 0
  }
  {
    name: 'budget-exceeded'
    title: 'More database connections are wanted than there are'
    severity: 2
    query: 'AppEvents | where Name == "budget_exceeded" and tostring(Properties.source) == "guard"'
    window: 'PT5M'
    operator: 'GreaterThan'
    threshold: 0
  }
  {
    name: 'function-failed'
    title: 'A function of Scaleout failed'
    severity: 3
    query: 'AppRequests | where Success == false'
    window: 'PT15M'
    operator: 'GreaterThan'
    threshold: 0
  }
  {
    name: 'guard-silent'
    title: 'The health guard has not judged for 15 minutes'
    severity: 2
    query: 'AppEvents | where Name == "guard_verdict"'
    window: 'PT15M'
    operator: 'LessThan'
    threshold: 1
  }
]

resource workspace 'Microsoft.OperationalInsights/workspaces@2023-09-01' existing = {
  name: workspaceName
}

resource people 'Microsoft.Insights/actionGroups@2023-01-01' = if (!empty(alertEmail)) {
  name: 'ag-scaleout-${token}'
  location: 'global'
  tags: tags
  properties: {
    groupShortName: 'scaleout'
    enabled: true
    emailReceivers: [
      {
        name: 'operators'
        emailAddress: alertEmail
        useCommonAlertSchema: true
      }
    ]
  }
}

resource alerts 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [
  for rule in rules: {
    name: 'alert-scaleout-${rule.name}-${token}'
    location: location
    tags: tags
    properties: {
      displayName: rule.title
      // The workspace is made in the same deployment: its tables are not there yet when the query would be tried.
      skipQueryValidation: true
      severity: rule.severity
      enabled: guardRuns || rule.name != 'guard-silent'
      scopes: [
        workspace.id
      ]
      evaluationFrequency: 'PT5M'
      windowSize: rule.window
      criteria: {
        allOf: [
          {
            query: rule.query
            timeAggregation: 'Count'
            operator: rule.operator
            threshold: rule.threshold
          }
        ]
      }
      autoMitigate: true
      actions: {
        actionGroups: empty(alertEmail) ? [] : [people!.id]
      }
    }
  }
]

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(workspace.id, 'scaleout')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: 'Scaleout for Open WebUI'
    category: 'workbook'
    sourceId: workspace.id
    serializedData: loadTextContent('../monitoring/workbook.json')
  }
}
