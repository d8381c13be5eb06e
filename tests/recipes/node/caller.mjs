// A caller of Countersign: its stubs, credentials, and what a refusal says.

import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";
import * as jose from "jose";

const TIMEOUT_MS = 10_000;
const PROTOS = [
  "countersign/v1/session.proto",
  "countersign/v1/challenge.proto",
  "countersign/v1/token.proto",
  "google/rpc/error_details.proto",
];
const READ_AS = { keepCase: true, enums: String, longs: Number, defaults: true };

// google.rpc.Status, as it travels in `grpc-status-details-bin`.
const { "google.rpc.Status": STATUS } = protoLoader.fromJSON(
  {
    nested: {
      "google.rpc": {
        nested: {
          Any: { fields: { type_url: { type: "string", id: 1 }, value: { type: "bytes", id: 2 } } },
          Status: {
            fields: {
              code: { type: "int32", id: 1 },
              message: { type: "string", id: 2 },
              details: { rule: "repeated", type: "Any", id: 3 },
            },
          },
        },
      },
    },
  },
  READ_AS,
);

/** The server's three services, and its keys over HTTP. */
export class Countersign {
  #definitions;

  constructor(setup) {
    this.issuer = setup.issuer;
    this.jwks = jose.createRemoteJWKSet(new URL(`http://${setup.http}/.well-known/jwks.json`));
    this.#definitions = protoLoader.loadSync(PROTOS, { ...READ_AS, includeDirs: [setup.protos] });
    const { v1 } = grpc.loadPackageDefinition(this.#definitions).countersign;
    const insecure = grpc.credentials.createInsecure();
    this.sessions = new v1.SessionService(setup.grpc, insecure);
    this.challenges = new v1.ChallengeService(setup.grpc, insecure);
    this.tokens = new v1.TokenService(setup.grpc, insecure);
  }

  close() {
    for (const service of [this.sessions, this.challenges, this.tokens]) service.close();
  }

  /** Header and claims of an access token, verified as a gateway would: by the published keys. */
  async verifyAccessToken(token, audience) {
    const { protectedHeader, payload } = await jose.jwtVerify(token, this.jwks, {
      algorithms: ["ES256"],
      issuer: this.issuer,
      audience,
      typ: "at+jwt",
      requiredClaims: ["iss", "aud", "sub", "iat", "exp", "jti", "sid"],
    });
    return { header: protectedHeader, claims: payload };
  }

  /** What a failed call says, to machines and to humans. */
  readRefusal(error) {
    const [packed] = error.metadata?.get("grpc-status-details-bin") ?? [];
    const details = packed ? STATUS.deserialize(packed).details : [];
    const info = this.#detail(details, "google.rpc.ErrorInfo");
    const badRequest = this.#detail(details, "google.rpc.BadRequest");
    const wait = this.#detail(details, "google.rpc.RetryInfo")?.retry_delay;
    return {
      code: grpc.status[error.code],
      domain: info?.domain,
      reason: info?.reason,
      text: error.details,
      fields: badRequest?.field_violations.map((violation) => violation.field) ?? [],
      retryAfterMs: wait && wait.seconds * 1000 + wait.nanos / 1_000_000,
    };
  }

  #detail(details, type) {
    const found = details.find((detail) => detail.type_url === `type.googleapis.com/${type}`);
    return found && this.#definitions[type].deserialize(found.value);
  }
}

/** One unary call, with the credentials in the metadata. */
export function call(service, method, request, authorization) {
  const metadata = new grpc.Metadata();
  if (authorization) metadata.set("authorization", authorization);
  const deadline = Date.now() + TIMEOUT_MS;
  return new Promise((resolve, reject) => {
    service[method](request, metadata, { deadline }, (error, answer) =>
      error ? reject(error) : resolve(answer),
    );
  });
}

export function basic(clientId, clientSecret) {
  return `Basic ${Buffer.from(`${clientId}:${clientSecret}`).toString("base64")}`;
}

/** Checks that a call is refused with this code, for this reason. */
export async function refused(
  countersign,
  transcript,
  what,
  [code, reason],
  service,
  method,
  request,
  authorization,
) {
  const got = await call(service, method, request, authorization).then(
    () => ({ code: "OK" }),
    (error) => countersign.readRefusal(error),
  );
  const expected = [code, "countersign.v1", reason];
  transcript.equal(`${what} -> ${code} ${reason}`, [got.code, got.domain, got.reason], expected);
  return got;
}
