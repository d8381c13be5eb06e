-- Tokens keep the audience that they were issued with, so whoever guards the earlier one goes on hearing of them.

ALTER TABLE clients ADD COLUMN audience_change_time timestamptz;
COMMENT ON COLUMN clients.audience_change_time IS 'When the audience in its policy was last changed; null if it never was.';
