// An example deployment with everything switched on, for checks that need values. Nobody deploys it.

targetScope = 'subscription'

module example '../../infra/main.bicep' = {
  name: 'example'
  params: {
    environmentName: 'example'
    location: 'westeurope'
    allowedScopes: '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/shop'
    alwaysReadyInstances: 1
    operatorsEmail: 'operators@example.com'
    alertClientId: '11111111-1111-1111-1111-111111111111'
  }
}
