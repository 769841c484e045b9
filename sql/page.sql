-- The review as a page.

CREATE FUNCTION scope.review_html()
RETURNS text
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'review_html_wrapper';
COMMENT ON FUNCTION scope.review_html() IS
'The findings of scope.review(), what has changed since the last scope.attest(), the map of roles as a drawing and who can do what as a table of roles by objects, as one HTML page that needs nothing else (its script only filters): psql -AtXc "select scope.review_html()" > review.html. It prints, follows the reader''s light or dark colours, and is ASCII. Its functions are asked as a superuser, for members of pg_monitor. Errors: XX000 the catalogs could not be read.';
