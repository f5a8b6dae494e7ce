// The function app on Flex Consumption. It signs in with its identity everywhere; there is no key in its settings.

@description('Region of the app.')
param location string

@description('Tags of the app and its plan.')
param tags object

@description('Name of the service in azure.yaml, by which azd finds the app.')
param serviceName string

@description('Name of the plan.')
param planName string

@description('Name of the app.')
param appName string

@description('Version of Python.')
param pythonVersion string

@description('Memory of an instance in MB.')
param instanceMemoryMB int

@description('Largest number of instances of each function.')
param maximumInstanceCount int

@description('Instances of receive_request that always run; 0 for none.')
param alwaysReadyInstances int

@description('Resource id of a subnet for the app; empty for none.')
param subnetId string

@description('Resource id of the identity of the app.')
param hostIdentityId string

@description('Client id of the identity of the app.')
param hostClientId string

@description('Resource id of the identity for Resource Manager.')
param maintainerIdentityId string

@description('Client id of the identity for Resource Manager.')
param maintainerClientId string

@description('URL of the container that holds the deployed package.')
param containerUrl string

@description('URL of the blob service.')
param blobEndpoint string

@description('URL of the queue service.')
param queueEndpoint string

@description('URL of the table service.')
param tableEndpoint string

@description('Connection string of Application Insights.')
param applicationInsightsConnectionString string

@description('Host name of the Service Bus namespace.')
param serviceBusHostName string

@description('App settings of the worker, by name.')
param workerSettings object

@description('Client id of the app registration that alerts sign in to; empty where they come with a key.')
param alertClientId string

@description('Tenant of the app registration.')
param tenantId string

@description('Application ids that may call with a token of the app registration.')
param alertCallers array

var alwaysReady = [
  {
    name: 'function:receive_request'
    instanceCount: alwaysReadyInstances
  }
]

// The default of Azure Monitor keeps a few traces a second, and decides anew below a parent that is kept.
var samplerSettings = {
  OTEL_TRACES_SAMPLER: 'parentbased_always_on'
}

resource plan 'Microsoft.Web/serverfarms@2024-11-01' = {
  name: planName
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

resource site 'Microsoft.Web/sites@2024-11-01' = {
  name: appName
  location: location
  tags: union(tags, {
    'azd-service-name': serviceName
  })
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${hostIdentityId}': {}
      '${maintainerIdentityId}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: containerUrl
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: hostIdentityId
          }
        }
      }
      runtime: {
        name: 'python'
        version: pythonVersion
      }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMB
        maximumInstanceCount: maximumInstanceCount
        alwaysReady: alwaysReadyInstances > 0 ? alwaysReady : []
        triggers: {
          http: {
            perInstanceConcurrency: 8
          }
        }
      }
    }
    siteConfig: {
      minTlsVersion: '1.2'
    }
  }
}

// All settings in one place. Flex refuses many names of other plans, such as FUNCTIONS_WORKER_RUNTIME.
resource settings 'Microsoft.Web/sites/config@2024-11-01' = {
  parent: site
  name: 'appsettings'
  properties: union(samplerSettings, workerSettings, {
    APPLICATIONINSIGHTS_CONNECTION_STRING: applicationInsightsConnectionString
    APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${hostClientId};Authorization=AAD'
    AzureWebJobsStorage__credential: 'managedidentity'
    AzureWebJobsStorage__clientId: hostClientId
    AzureWebJobsStorage__blobServiceUri: blobEndpoint
    AzureWebJobsStorage__queueServiceUri: queueEndpoint
    AzureWebJobsStorage__tableServiceUri: tableEndpoint
    // The scale controller needs all three.
    ServiceBusConnection__fullyQualifiedNamespace: serviceBusHostName
    ServiceBusConnection__credential: 'managedidentity'
    ServiceBusConnection__clientId: hostClientId
    MAINTENANCE_IDENTITY_CLIENT_ID: maintainerClientId
  })
}

resource scmPublishing 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01' = {
  parent: site
  name: 'scm'
  properties: {
    allow: false
  }
}

resource ftpPublishing 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01' = {
  parent: site
  name: 'ftp'
  properties: {
    allow: false
  }
}

// Alerts without a key: App Service checks the token first, and the worker then checks its claims itself.
resource authentication 'Microsoft.Web/sites/config@2024-11-01' = if (!empty(alertClientId)) {
  parent: site
  name: 'authsettingsV2'
  properties: {
    platform: {
      enabled: true
    }
    globalValidation: {
      requireAuthentication: true
      unauthenticatedClientAction: 'Return401'
    }
    httpSettings: {
      requireHttps: true
    }
    identityProviders: {
      azureActiveDirectory: {
        enabled: true
        registration: {
          clientId: alertClientId
          openIdIssuer: '${environment().authentication.loginEndpoint}${tenantId}/v2.0'
        }
        validation: {
          allowedAudiences: [
            alertClientId
          ]
          defaultAuthorizationPolicy: {
            allowedApplications: alertCallers
          }
        }
      }
    }
  }
}

@description('Resource id of the app.')
output id string = site.id

@description('Name of the app.')
output name string = site.name

@description('Host name of the app.')
output hostName string = site.properties.defaultHostName
