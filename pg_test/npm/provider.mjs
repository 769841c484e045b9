// A certified OpenID provider for the tests: node provider.mjs CERTIFICATE KEY. Prints its port; then a line on the input is a command:
// token ROLE (prints an access token that the token endpoint gave out), bound ROLE CERTIFICATE KEY (one that is bound to this certificate
// of the client), rotate (signs with a new key from now on; the old one is
// still published), retire (the old ones are not), member NAME ROLE (what this person's tokens name), visit URL CODE NAME (this person enters the
// code of a device there, logs in and consents; prints the title of the last page).
import { readFileSync } from "node:fs";
import https from "node:https";
import { createInterface } from "node:readline";
import { generateKeyPairSync, randomUUID } from "node:crypto";
import { Provider } from "oidc-provider";
import { visit } from "./person.mjs";

const [certificate, key] = process.argv.slice(2).map((path) => readFileSync(path));
const SECRET = randomUUID();

function newKey() {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  return { ...privateKey.export({ format: "jwk" }), kid: randomUUID(), use: "sig", alg: "RS256" };
}

let keys = [newKey()];
let handler = null;
let issuer = null;

const roles = new Map();

// What tells the clients of people apart: whose tokens they get, for how many seconds.
const DEVICES = { psql: { audience: "db", accessTokenTTL: 600 }, brief: { audience: "db", accessTokenTTL: 6 }, elsewhere: { audience: "other", accessTokenTTL: 600 } };
const device = {
  token_endpoint_auth_method: "none", grant_types: ["urn:ietf:params:oauth:grant-type:device_code"], redirect_uris: [], response_types: [],
};
const client = { client_secret: SECRET, grant_types: ["client_credentials"], redirect_uris: [], response_types: [] };

function start() {
  const provider = new Provider(issuer, {
    jwks: { keys },
    clients: [
      { ...client, client_id: "app" }, { ...client, client_id: "bound", tls_client_certificate_bound_access_tokens: true },
      ...Object.keys(DEVICES).map((client_id) => ({ ...device, client_id })),
    ],
    features: {
      clientCredentials: { enabled: true },
      deviceFlow: { enabled: true },
      devInteractions: { enabled: true },
      mTLS: {
        enabled: true, certificateBoundAccessTokens: true, getCertificate: (ctx) => ctx.req.socket.getPeerX509Certificate(),
      },
      resourceIndicators: {
        enabled: true, defaultResource: () => "urn:db", useGrantedResource: () => true,
        getResourceServerInfo: (ctx, resource, client) => ({
          scope: "db", audience: "db", accessTokenTTL: 600, accessTokenFormat: "jwt", jwt: { sign: { alg: "RS256" } }, ...DEVICES[client.clientId],
        }),
      },
    },
    extraTokenClaims: (ctx, token) => ({ db_role: roles.get(token.accountId) ?? ctx.oidc.body.db_role }),
    cookies: { keys: [randomUUID()] },
  });
  // How often clients ask whether the person is ready.
  provider.use(async (ctx, next) => {
    await next();
    if (ctx.oidc?.route === "device_authorization") ctx.body.interval = 1;
  });
  handler = provider.callback();
}

const server = https.createServer({ cert: certificate, key, requestCert: true, rejectUnauthorized: false }, (request, response) => handler(request, response));

function token(role, of = "app", own = {}) {
  const body = new URLSearchParams({ grant_type: "client_credentials", resource: "urn:db", scope: "db", db_role: role }).toString();
  const options = {
    method: "POST", ca: undefined, rejectUnauthorized: false, auth: `${of}:${SECRET}`, ...own,
    headers: { "content-type": "application/x-www-form-urlencoded", "content-length": Buffer.byteLength(body) },
  };
  return new Promise((done, fail) => {
    const request = https.request(`${issuer}/token`, options, (response) => {
      let text = "";
      response.on("data", (part) => (text += part));
      response.on("end", () => (response.statusCode === 200 ? done(JSON.parse(text).access_token) : fail(new Error(text))));
    });
    request.on("error", fail);
    request.end(body);
  });
}

server.listen(0, "127.0.0.1", () => {
  issuer = `https://127.0.0.1:${server.address().port}`;
  start();
  console.log(server.address().port);
});

createInterface({ input: process.stdin }).on("line", async (line) => {
  const [command, role, ...files] = line.split(" ");
  if (command === "token") {
    console.log(await token(role));
  } else if (command === "bound") {
    const [cert, key] = files.map((path) => readFileSync(path));
    console.log(await token(role, "bound", { cert, key, agent: false }));
  } else if (command === "member") {
    roles.set(role, files[0]);
    console.log("done");
  } else if (command === "visit") {
    console.log(await visit(role, ...files));
  } else {
    keys = command === "rotate" ? [newKey(), ...keys] : keys.slice(0, 1);
    start();
    console.log(keys[0].kid);
  }
}).on("close", () => process.exit(0));
