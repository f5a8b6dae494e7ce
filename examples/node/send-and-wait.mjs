// Ask for maintenance from Node.js, and wait for its end. Nothing of the project is needed but the two names below.
//
//   npm install
//   SERVICEBUS_CONNECTION_STRING=… node send-and-wait.mjs SUBSCRIPTION RESOURCE_GROUP SCALE_SET [INSTANCE ...]

import { randomUUID } from "node:crypto";
import { setTimeout } from "node:timers/promises";
import { ServiceBusClient } from "@azure/service-bus";

const [subscriptionId, resourceGroupName, vmScaleSetName, ...instanceIds] = process.argv.slice(2);
const request = { subscriptionId, resourceGroupName, vmScaleSetName, requestId: randomUUID() };
// An empty list is refused: left out, it means the whole scale set.
if (instanceIds.length) request.instanceIds = instanceIds;

const client = new ServiceBusClient(process.env.SERVICEBUS_CONNECTION_STRING);
const sender = client.createSender("maintenance-requests");
await sender.sendMessages({ body: request, messageId: request.requestId, contentType: "application/json" });

// Peeking takes no event from other readers of the subscription; each call goes on where the last one ended.
const receiver = client.createReceiver("maintenance-events", process.env.EVENTS_SUBSCRIPTION ?? "all-events");
let end;
while (!end) {
  const messages = await receiver.peekMessages(100);
  for (const message of messages) {
    const event = typeof message.body === "string" ? JSON.parse(message.body) : message.body;
    const kind = event.type.split(".").at(-2);
    if (event.data.requestId === request.requestId && ["completed", "rejected", "duplicate"].includes(kind)) end = event;
  }
  if (!messages.length) await setTimeout(500);
}
console.log(end.type, end.data.status);
for (const { instanceId, outcome } of end.data.instances ?? []) console.log(instanceId, outcome);
await client.close();
