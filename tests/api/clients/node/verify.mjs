// Reads [{secret, headers, body}] from standard input and verifies each as a subscriber written for Node would.
import { Webhook } from "standardwebhooks";

let input = "";
for await (const chunk of process.stdin) input += chunk;
const verdicts = JSON.parse(input).map(({ secret, headers, body }) => {
  try {
    return { good: true, event: new Webhook(secret).verify(body, headers) };
  } catch (error) {
    return { good: false, error: String(error) };
  }
});
process.stdout.write(JSON.stringify(verdicts));
