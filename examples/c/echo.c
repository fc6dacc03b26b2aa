// The smallest connector in C: no SDK, only the bindings that wit-bindgen writes from the contract.
//
// `echo` answers its input and what it was told last time; `send` also posts the input to the provider first.
// Every call has a fresh instance, whose memory ends with it: nothing that the host gave is freed by hand. What we
// return is freed by the bindings, so it stands on the heap.

#include "actions_only.h"
#include <stdlib.h>
#include <string.h>

typedef actions_only_string_t text;

static const char DESCRIPTOR[] =
    "{\"actions\":["
    "{\"name\":\"echo\",\"title\":\"Echo\",\"description\":\"Answers its input and what it was told last time.\","
    "\"read-only\":false,\"input\":{\"type\":\"object\"},\"output\":{\"type\":\"object\"}},"
    "{\"name\":\"send\",\"title\":\"Send\",\"description\":\"Posts its input to the provider, then does what echo does.\","
    "\"read-only\":false,\"input\":{\"type\":\"object\"},\"output\":{\"type\":\"object\"}}"
    "],\"streams\":[],\"events\":[]}";

// A string that lives as long as the program: for what the host only reads.
static text fixed(const char *characters) {
    return (text){ (uint8_t *)characters, strlen(characters) };
}

static bool equals(const text *left, const char *right) {
    return left->len == strlen(right) && memcmp(left->ptr, right, left->len) == 0;
}

static void append(text *to, text what) {
    memcpy(to->ptr + to->len, what.ptr, what.len);
    to->len += what.len;
}

static bool fail(exports_bulkhead_connector_actions_failure_t *failure, uint8_t kind, const char *message) {
    memset(failure, 0, sizeof *failure);
    failure->kind.tag = kind;
    actions_only_string_dup(&failure->message, message);
    return false;
}

// Posts `input` and says which status came back, or 0 and the failure.
static uint16_t post(text *input, exports_bulkhead_connector_actions_failure_t *failure) {
    bulkhead_connector_types_chunk_t chunk = { .tag = BULKHEAD_CONNECTOR_TYPES_CHUNK_TEXT, .val.text = *input };
    actions_only_tuple2_string_string_t json = { fixed("content-type"), fixed("application/json") };
    bulkhead_connector_http_request_t request = {
        .method = fixed("POST"),
        .url = fixed("https://echo.example.com/messages"),
        .headers = { &json, 1 },
        .body = { &chunk, 1 },
        .deliver = BULKHEAD_CONNECTOR_HTTP_DELIVERY_MODE_TEXT,
        .effect = { true, fixed("message") },
    };
    bulkhead_connector_http_response_t response;
    bulkhead_connector_http_error_t error;
    if (!bulkhead_connector_http_send(&request, &response, &error)) {
        fail(failure, error.retryable ? BULKHEAD_CONNECTOR_TYPES_FAILURE_KIND_UNAVAILABLE
                                      : BULKHEAD_CONNECTOR_TYPES_FAILURE_KIND_REJECTED, "The message was not sent.");
        return 0;
    }
    if (response.status >= 200 && response.status < 300) return response.status;
    fail(failure, response.status >= 500 ? BULKHEAD_CONNECTOR_TYPES_FAILURE_KIND_UNAVAILABLE
                                : BULKHEAD_CONNECTOR_TYPES_FAILURE_KIND_REJECTED, "The provider did not take the message.");
    return 0;
}

void exports_bulkhead_connector_descriptor_describe(text *answer) {
    actions_only_string_dup(answer, DESCRIPTOR);
}

bool exports_bulkhead_connector_actions_act(text *action, text *input, text *resume,
                                            exports_bulkhead_connector_actions_outcome_t *outcome,
                                            exports_bulkhead_connector_actions_failure_t *failure) {
    (void)resume; // Only an action that answers `later` is ever resumed.
    uint16_t status = 0;
    if (equals(action, "send")) {
        if ((status = post(input, failure)) == 0) return false;
    } else if (!equals(action, "echo")) {
        return fail(failure, BULKHEAD_CONNECTOR_TYPES_FAILURE_KIND_UNSUPPORTED, "There is no such action.");
    }

    text key = fixed("last"), previous;
    if (!bulkhead_connector_state_get(&key, &previous)) previous = fixed("null");
    bulkhead_connector_state_error_t refused;
    if (!bulkhead_connector_state_set(&key, input, &refused)) {
        return fail(failure, BULKHEAD_CONNECTOR_TYPES_FAILURE_KIND_INVALID_INPUT, "The input cannot be remembered.");
    }

    // Room for both documents, the words between them and a status.
    text value = { malloc(input->len + previous.len + 64), 0 };
    if (value.ptr == NULL) abort();
    append(&value, fixed("{\"echo\":"));
    append(&value, *input);
    append(&value, fixed(",\"previous\":"));
    append(&value, previous);
    append(&value, fixed(",\"status\":"));
    char digits[] = { '0' + status / 100, '0' + status / 10 % 10, '0' + status % 10, 0 };
    append(&value, fixed(status == 0 ? "null" : digits));
    append(&value, fixed("}"));

    memset(outcome, 0, sizeof *outcome);
    outcome->tag = EXPORTS_BULKHEAD_CONNECTOR_ACTIONS_OUTCOME_DONE;
    outcome->val.done.value = value;
    return true;
}
