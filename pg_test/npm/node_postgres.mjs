// node-postgres with a token as the password, over TLS: node node_postgres.mjs PORT DATABASE LOGIN ROLE CERTIFICATE. Prints the kind of token that
// it wants and reads one, as often as it logs in; "fine" is last, or it fails.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import pg from "pg";

const [port, database, user, role, certificate] = process.argv.slice(2);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

// A password can be a function that gets a new token for each connection.
const config = (kind) => ({
  host: "localhost", port: Number(port), database, user, ssl: { ca: readFileSync(certificate) },
  password: async () => {
    console.log(kind);
    return (await lines.next()).value;
  },
});

async function connect(kind) {
  const client = new pg.Client(config(kind));
  // What a connection that ends says once more, when nobody waits for it.
  client.on("error", () => {});
  await client.connect();
  return client;
}

const ask = { name: "ask", text: "SELECT current_user::text, scope.jwt_claims() ->> 'sub' AS sub, count(*)::int FROM orders WHERE id > $1", values: [0] };
const wanted = { current_user: role, sub: "ann", count: 2 };
const works = async (client) => assert.deepEqual({ ...(await client.query(ask)).rows[0] }, wanted);

for (const kind of ["good", "8000", "60000"]) {
  const client = await connect(kind);
  for (const end of ["COMMIT", "ROLLBACK"]) {
    await client.query("BEGIN");
    await works(client);
    await client.query(end);
  }
  await client.end();
}
const pool = new pg.Pool({ ...config("good"), max: 1 });
for (let i = 0; i < 6; i++) await works(pool);
await pool.end();
await assert.rejects(connect("bad"), { code: "28P01" });
const brief = await connect("brief");
await assert.rejects(brief.query("SELECT pg_sleep(60)"), { code: "57P01" });
console.log("fine");
process.exit(0);
