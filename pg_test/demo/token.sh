# shellcheck shell=bash
# Signs a JWT with HS256, as any service that knows the secret could.

base64url() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }

# jwt SECRET CLAIMS
jwt() {
  local signed key
  signed=$(printf '{"alg":"HS256","typ":"JWT"}' | base64url).$(printf %s "$2" | base64url)
  key=$(printf %s "$1" | od -An -v -tx1 | tr -d ' \n')
  printf '%s.%s' "$signed" "$(printf %s "$signed" | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | base64url)"
}
