// The sandbox's Service Bus as @azure/service-bus sees it: another SDK on another AMQP library (rhea).
// Prints one JSON object, a key per finding; test_servicebus_node.py knows what they should be.
import { ServiceBusClient } from "@azure/service-bus";
import Long from "long";

const client = new ServiceBusClient(process.argv[2], { retryOptions: { maxRetries: 0, timeoutInMs: 10000 } });
const found = {};
const wait = { maxWaitTimeInMs: 10000 };

async function one(receiver) {
  const [message] = await receiver.receiveMessages(1, wait);
  return message;
}

async function codeOf(promise) {
  try {
    await promise;
    return "none";
  } catch (error) {
    return error.code;
  }
}

const sender = client.createSender("q");
const receiver = client.createReceiver("q");
const deadLetters = client.createReceiver("q", { subQueueType: "deadLetter" });

// Sending and settling.
await sender.sendMessages({ body: { text: "ü" }, messageId: "json", subject: "s", applicationProperties: { k: 1 } });
const first = await one(receiver);
found.message = [first.body, first.messageId, first.subject, first.applicationProperties, first.deliveryCount];
await receiver.abandonMessage(first, { k: 2 });
const again = await one(receiver);
found.abandoned = [again.deliveryCount, again.applicationProperties];
await receiver.renewMessageLock(again);
await receiver.completeMessage(again);

const batch = await sender.createMessageBatch();
for (const body of ["a", "b", "c"]) batch.tryAddMessage({ body });
await sender.sendMessages(batch);
await receiver.deadLetterMessage(await one(receiver), { deadLetterReason: "why", deadLetterErrorDescription: "because" });
const dead = await one(deadLetters);
found.dead = [dead.body, dead.deadLetterReason, dead.deadLetterErrorDescription];
await deadLetters.completeMessage(dead);

const deferred = await one(receiver);
await receiver.deferMessage(deferred);
const [back] = await receiver.receiveDeferredMessages(deferred.sequenceNumber);
found.deferred = back.body;
await receiver.completeMessage(back);
await receiver.completeMessage(await one(receiver));

// Scheduling and peeking.
const [kept, cancelled] = await sender.scheduleMessages(
  [{ body: "kept" }, { body: "cancelled" }],
  new Date(Date.now() + 60000),
);
await sender.cancelScheduledMessages(cancelled);
found.peeked = (await receiver.peekMessages(10, { fromSequenceNumber: Long.fromNumber(1) })).map((m) => [m.body, m.state]);
await sender.cancelScheduledMessages(kept);

// Receive and delete, by subscribing.
await sender.sendMessages([{ body: "1" }, { body: "2" }]);
const deleting = client.createReceiver("q", { receiveMode: "receiveAndDelete" });
found.subscribed = await new Promise((resolve, reject) => {
  const bodies = [];
  deleting.subscribe({
    processMessage: async (message) => {
      bodies.push(message.body);
      if (bodies.length === 2) resolve(bodies);
    },
    processError: async ({ error }) => reject(error),
  });
});
await deleting.close();

// Rules, and what they let through.
const rules = client.createRuleManager("t", "all");
await rules.createRule("sql", { sqlExpression: "color = 'red'" });
await rules.createRule("correlation", { subject: "order", applicationProperties: { size: 1 } });
await rules.deleteRule("$Default");
found.rules = [];
for await (const rule of rules.listRules()) {
  found.rules.push([rule.name, rule.filter.sqlExpression ?? [rule.filter.subject, rule.filter.applicationProperties]]);
}
found.ruleTwice = await codeOf(rules.createRule("sql", { sqlExpression: "1 = 1" }));
found.noRule = await codeOf(rules.createRule("bad", { sqlExpression: "color =" }));
const topic = client.createSender("t");
await topic.sendMessages([
  { body: "red", applicationProperties: { color: "red" } },
  { body: "neither", subject: "order", applicationProperties: { size: 2 } },
  { body: "order", subject: "order", applicationProperties: { size: 1 } },
]);
const subscription = client.createReceiver("t", "all", { receiveMode: "receiveAndDelete" });
found.filtered = [(await one(subscription)).body, (await one(subscription)).body];

// Errors.
found.notFound = await codeOf(client.createSender("nix").sendMessages({ body: "a" }));
found.session = await codeOf(client.acceptSession("q", "s"));
await sender.sendMessages({ body: "lock" });
const locked = await one(receiver);
await receiver.completeMessage(locked);
found.lockLost = await codeOf(receiver.renewMessageLock(locked));

await client.close();
console.log(JSON.stringify(found));
