-- A request that redeemed a challenge can be told when it comes again, and what accepted its signature.

-- What accepted the signature that redeemed it: EOA, EIP1271, ERC6492 or ED25519.
ALTER TABLE challenges ADD COLUMN verification_method TEXT;
-- The number of the block at which a contract accepted it.
ALTER TABLE challenges ADD COLUMN verification_block INTEGER;
CREATE INDEX challenges_by_request ON challenges (request_digest) WHERE request_digest IS NOT NULL;
