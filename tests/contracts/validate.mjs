// Prints what @asyncapi/parser makes of a document: its problems, and the document as JSON.
import { Parser, fromFile } from "@asyncapi/parser";

const { document, diagnostics } = await fromFile(new Parser(), process.argv[2]).parse({ applyTraits: false });
const problems = diagnostics.filter(({ severity }) => severity < 2).map(({ message, path }) => [path.join("."), message]);
const channels = document?.channels().all().map((channel) => [channel.address(), channel.messages().all().length]);
console.log(JSON.stringify({ problems, channels }));
