-- What the handler for PostgreSQL says. {table} and {columns} are put in, quoted; $1 is a parameter.

-- name: find_table
SELECT to_regclass($1)

-- name: create_table
CREATE TABLE IF NOT EXISTS {table} (
    batch_id      text NOT NULL,
    custom_id     text NOT NULL,
    line          integer NOT NULL,
    status_code   integer,
    text          text,
    error_code    text,
    error_message text,
    model         text,
    finish_reason text,
    input_tokens  bigint,
    output_tokens bigint,
    response      jsonb,
    request       jsonb,
    received_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (batch_id, custom_id)
)

-- name: begin_chunk
CREATE TEMPORARY TABLE batchline_chunk ON COMMIT DROP AS
SELECT {columns} FROM {table} WITH NO DATA

-- name: end_chunk
INSERT INTO {table} ({columns})
SELECT {columns} FROM batchline_chunk
ON CONFLICT (batch_id, custom_id) DO NOTHING
