-- A request that redeemed a challenge can be told when it comes again, and what accepted its signature.

ALTER TABLE challenges ADD COLUMN verification_method text, ADD COLUMN verification_block bigint;
CREATE INDEX challenges_by_request ON challenges (request_digest) WHERE request_digest IS NOT NULL;
COMMENT ON COLUMN challenges.verification_method IS 'What accepted the signature that redeemed it: EOA, EIP1271, ERC6492 or ED25519.';
COMMENT ON COLUMN challenges.verification_block IS 'The number of the block at which a contract accepted it.';
COMMENT ON TABLE challenges IS 'What wallets are asked to sign; redeemed at most once. Redeeming changes no indexed column, unless the request has a request_id.';
