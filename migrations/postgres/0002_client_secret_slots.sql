-- A client has two live secrets at most, however many calls add one at once.
--
-- The program before this one makes each client with one secret, which takes the first place.

ALTER TABLE client_secrets ADD COLUMN slot smallint NOT NULL DEFAULT 0 CHECK (slot IN (0, 1));
CREATE UNIQUE INDEX client_secrets_live ON client_secrets (client_id, slot) WHERE revoke_time IS NULL;
DROP INDEX client_secrets_of_client;
COMMENT ON COLUMN client_secrets.slot IS '0 or 1: its place among the live ones of its client.';
