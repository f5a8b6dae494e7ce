// The role that reads the properties of Service Bus queues, for scaling. It reads no message.

targetScope = 'subscription'

@description('Text that marks what belongs to this environment, for its removal.')
param owner string

var roleName = 'Service Bus queue properties reader (${owner})'

resource definition 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(subscription().id, roleName)
  properties: {
    roleName: roleName
    description: 'Read the properties of Service Bus queues, such as their length. Reads no messages.'
    type: 'CustomRole'
    permissions: [
      {
        actions: [
          'Microsoft.ServiceBus/namespaces/queues/read'
        ]
        notActions: []
        dataActions: []
        notDataActions: []
      }
    ]
    assignableScopes: [
      subscription().id
    ]
  }
}

@description('Resource id of the role.')
output id string = definition.id
