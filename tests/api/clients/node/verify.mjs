// Reads [{secret, headers, body}] from standard input and verifies each as a subscriber written for Node would.
import { Webhook } from "standardwebhooks";

let given = "";
for await (const piece of process.stdin) given += piece;
const told = JSON.parse(given).map(({ secret, headers, body }) => {
  try {
    return { good: true, said: new Webhook(secret).verify(body, headers) };
  } catch (error) {
    return { good: false, why: String(error) };
  }
});
process.stdout.write(JSON.stringify(told));
