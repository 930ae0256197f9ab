// Reads the accounts of one connection: node accounts.mjs CONNECTION_ID SUBJECT
// Needs Node 20 and `npm install aws4`. Environment: BROKER_URL, DATA_URL, AWS_REGION, AWS credentials.
import aws4 from "aws4";

const { BROKER_URL, DATA_URL, AWS_REGION: region } = process.env;
const [connectionId, subject] = process.argv.slice(2);

async function handOut(wishes) {
  const url = new URL(`${BROKER_URL}/connections/${connectionId}/token`);
  const signed = aws4.sign({
    service: "execute-api", region, method: "POST", host: url.host, path: url.pathname,
    headers: { "Content-Type": "application/json" }, body: JSON.stringify(wishes),
  });
  delete signed.headers.Host; // fetch sets it
  const answer = await fetch(url, { method: "POST", headers: signed.headers, body: signed.body });
  const content = await answer.json();
  if (answer.ok) return content;
  if (answer.status === 503) throw new Error(`${content.error}: ask again in ${answer.headers.get("Retry-After")} s`);
  throw new Error(`${answer.status} ${content.error}: ${content.error_description}`);
}

const read = (bearer) => fetch(`${DATA_URL}/accounts-info/v3/${bearer.connector}`, {
  redirect: "error", // the bearer goes to this host alone
  headers: {
    Authorization: `Bearer ${bearer.id_token}`,
    "x-akoya-interaction-type": "USER",
    "x-akoya-last-access": new Date().toISOString().replace(/\.\d+/, ""),
  },
});

// Keep a bearer in the memory of this process, until expires_at minus a minute; never on disk.
const bearer = await handOut({ subject });
let answer = await read(bearer);
if (answer.status === 401 && (await answer.clone().json()).code === 602) {
  answer = await read(await handOut({ subject, rejected: bearer.generation })); // once, not in a loop
}
console.log(JSON.stringify(await answer.json()));
process.exitCode = answer.ok ? 0 : 1;
