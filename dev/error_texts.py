"""What each status of an error means, for the document and the docs."""

# By status: the codes and what they mean.
ERRORS = {
    "400": (
        "`invalid_json`, `invalid_request`, `invalid_image`, `too_many_prompts`, `label_too_long`"
        " or `answer_too_large`: not JSON; a missing, unknown, mistyped, out-of-range or"
        " contradictory field; an image that can't be decoded; more than a limit allows."
    ),
    "403": (
        "`forbidden`: no API key or a wrong one, API Gateway's own answer; or a key of `image_s3`"
        " that may not be read."
    ),
    "404": "`not_found`: there is nothing at this path; or no object under the key of `image_s3`.",
    "405": "`not_found`: this path takes other methods; `Allow` lists them.",
    "413": (
        "`too_large`: too many pixels, or too many bytes in S3; and, in the gateway's own words, a"
        " body over about 6 MB."
    ),
    "415": "`unsupported_media_type`: neither JSON nor an image of a known format.",
    "429": "`too_many_requests`: over the throttle. API Gateway's own answer.",
    "500": (
        "`internal_error`: a fault of the service; its log has the details. `unavailable`: no"
        " environment was free, API Gateway's own answer."
    ),
    "502": "`unavailable`: the function failed to start. API Gateway's own answer.",
    "503": (
        "`out_of_time`: time ran out; `Retry-After` says when to try again, and the labels encoded"
        " so far stay cached. `unavailable`: API Gateway's own answer."
    ),
    "504": "`out_of_time`: no answer within 29 seconds. API Gateway's own answer.",
}
