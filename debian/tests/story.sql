-- What is done with each package, in each server that has it. Whoever runs it looks for the last line.
\set ON_ERROR_STOP on
CREATE EXTENSION scope_roles;
CREATE TABLE orders (id int);
CREATE TABLE vault (id int);
INSERT INTO orders VALUES (1), (2);
SELECT role_name, password FROM scope.create_readonly_role('orders', valid_for => '1 hour') \gset
SELECT format('host=127.0.0.1 port=%s dbname=%s user=%s password=%s', current_setting('port'), current_database(),
              :'role_name', :'password') AS uri \gset
\connect :uri
SELECT count(*) AS rows FROM orders \gset
\set ON_ERROR_STOP off
SELECT * FROM vault;
\set vault :LAST_ERROR_SQLSTATE
DROP EXTENSION scope_roles;
\set extension :LAST_ERROR_SQLSTATE
SELECT 'the story is true' WHERE current_user LIKE 'orders\_ro\_%' AND (:'rows', :'vault', :'extension') = ('2', '42501', '42501');
