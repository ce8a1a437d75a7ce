-- The warehouse in PostgreSQL (`--env server`). DuckDB makes its tables itself.
CREATE TABLE sales (
  id bigint PRIMARY KEY, name text NOT NULL, ordered_at timestamptz NOT NULL, day date NOT NULL, status text, customer_email text,
  country text, currency text NOT NULL, total numeric NOT NULL, pieces bigint NOT NULL
);
CREATE TABLE sales_lines (
  id bigint PRIMARY KEY, sale bigint NOT NULL, sku text NOT NULL, title text NOT NULL, quantity bigint NOT NULL, price numeric NOT NULL,
  amount numeric NOT NULL
);
CREATE TABLE customers (
  id text NOT NULL, name text NOT NULL, email text, country text, is_customer boolean NOT NULL,
  valid_from timestamptz NOT NULL, valid_to timestamptz, is_current boolean NOT NULL, PRIMARY KEY (id, valid_from)
);
CREATE TABLE invoices (
  number text PRIMARY KEY, reference text NOT NULL, kind text NOT NULL, customer_email text, issued_on date NOT NULL,
  currency text NOT NULL, total numeric NOT NULL
);
