#!/bin/sh
# Ask for maintenance over Service Bus's REST API: nothing but curl, and a token.
#
#   SERVICEBUS_URL=https://contoso.servicebus.windows.net sh send.sh SUBSCRIPTION RESOURCE_GROUP SCALE_SET REQUEST_ID INSTANCE
#
# The token: az account get-access-token --resource https://servicebus.azure.net --query accessToken --output tsv
# The project's sandbox speaks AMQP only, so this one is not tried against it.
set -eu
: "${SERVICEBUS_URL:?}" "${SERVICEBUS_TOKEN:?}"
body=$(printf '{"subscriptionId": "%s", "resourceGroupName": "%s", "vmScaleSetName": "%s", "requestId": "%s", "instanceIds": ["%s"]}' "$@")
# The header comes from standard input: arguments can be seen by every user of the machine.
printf 'Authorization: Bearer %s\n' "$SERVICEBUS_TOKEN" | curl --fail --silent --show-error --max-time 60 \
  --request POST "$SERVICEBUS_URL/maintenance-requests/messages" \
  --header @- \
  --header "Content-Type: application/json" \
  --header "BrokerProperties: {\"MessageId\": \"$4\"}" \
  --data-binary "$body"
