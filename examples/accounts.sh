#!/usr/bin/env bash
# Reads the accounts of one connection: accounts.sh CONNECTION_ID SUBJECT
# Needs curl 7.76 and jq. Environment: BROKER_URL, DATA_URL, AWS_REGION, AWS credentials.
# Secrets go to curl by its standard input: a command line can be read by every process.
set -euo pipefail

call() { curl --silent --show-error --fail-with-body --max-time 35 --config - "$@"; }

bearer=$(
  call --aws-sigv4 "aws:amz:$AWS_REGION:execute-api" --header "Content-Type: application/json" \
    --data "$(jq -n --arg subject "$2" '{$subject}')" "$BROKER_URL/connections/$1/token" <<END
user = "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY"
${AWS_SESSION_TOKEN:+header = "x-amz-security-token: $AWS_SESSION_TOKEN"}
END
)

call --header "x-akoya-interaction-type: USER" \
  --header "x-akoya-last-access: $(date -u +%Y-%m-%dT%H:%M:%SZ)" \
  "$DATA_URL/accounts-info/v3/$(jq -r .connector <<<"$bearer")" <<END
header = "Authorization: Bearer $(jq -r .id_token <<<"$bearer")"
END
