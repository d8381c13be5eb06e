// What a wallet signs in each format: from StartChallenge to what VerifyChallenge takes.
//
// A wallet here has `address` and `network`, signs by `signText` and `signTypedData`, and composes EIP-4361
// texts by `compose`; the clients are those of policies/vault.json and plain.json.

const LISTED_TEXT = "Welcome to Vault!\n\nNonce: ";
const SIGN_IN_TEXT = {
  domain: "vault.example",
  statement: "Sign in to Vault.",
  uri: "https://vault.example/login",
  version: "1",
};

export const FORMATS = {
  TEXT: (application, wallet) => handedOut(application, wallet, "CHALLENGE_FORMAT_TEXT"),
  SIWX: (application, wallet) => handedOut(application, wallet, "CHALLENGE_FORMAT_SIWX"),
  TYPED_DATA: typedData,
  "NONCE and a listed text": listedText,
  "NONCE and an EIP-4361 text": composedText,
};

async function handedOut(application, wallet, format) {
  const { address, network } = wallet;
  const { id, message } = await application.start({ format, address, network });
  return { challenge_id: id, signature: await wallet.signText(message) };
}

async function typedData(application, wallet) {
  const format = "CHALLENGE_FORMAT_TYPED_DATA";
  const { address, network } = wallet;
  const { id, typed_data_json: json } = await application.start({ format, address, network });
  return { challenge_id: id, signature: await wallet.signTypedData(JSON.parse(json)) };
}

async function listedText(application, wallet) {
  const { address, network } = wallet;
  const { nonce } = await application.start({ format: "CHALLENGE_FORMAT_NONCE" });
  const message = `${LISTED_TEXT}${nonce}`;
  return { nonce, message, address, network, signature: await wallet.signText(message) };
}

/** Address and chain are those of the text. */
async function composedText(application, wallet) {
  const { nonce } = await application.start({ format: "CHALLENGE_FORMAT_NONCE" });
  const message = wallet.compose({ ...SIGN_IN_TEXT, nonce });
  return { message, signature: await wallet.signText(message) };
}
