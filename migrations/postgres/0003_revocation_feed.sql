-- The revocation feed reads, several times a second, which clients are not served.

CREATE INDEX clients_unserved ON clients (delete_time) WHERE disabled OR delete_time IS NOT NULL;
