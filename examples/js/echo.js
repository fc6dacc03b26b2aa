// The smallest connector in JavaScript: no SDK, only the contract.
//
// `echo` answers its input and what it was told last time; `send` also posts the input to the provider first.
// An error of ours is a value that is thrown; one of the host's is caught with the value as its `payload`.
// Fields that are an `option` may be left out.

import * as http from "bulkhead:connector/http@0.1.0";
import * as state from "bulkhead:connector/state@0.1.0";

const object = { type: "object" };
const action = (name, title, description) =>
  ({ name, title, description, "read-only": false, input: object, output: object });

export const descriptor = {
  describe: () => JSON.stringify({
    actions: [
      action("echo", "Echo", "Answers its input and what it was told last time."),
      action("send", "Send", "Posts its input to the provider, then does what echo does."),
    ],
    streams: [],
    events: [],
  }),
};

export const actions = {
  act(name, input) {
    if (name !== "echo" && name !== "send") throw failure("unsupported", "There is no such action.");
    const status = name === "send" ? post(input) : null;
    const previous = state.get("last");
    remember(input);
    const value = `{"echo":${input},"previous":${previous ?? "null"},"status":${status}}`;
    return { tag: "done", val: { value, events: [] } };
  },
};

function failure(tag, message) {
  return { kind: { tag }, message };
}

function post(input) {
  let response;
  try {
    response = http.send({
      method: "POST",
      url: "https://echo.example.com/messages",
      headers: [["content-type", "application/json"]],
      body: [{ tag: "text", val: input }],
      deliver: "text",
      effect: "message",
    });
  } catch (error) {
    throw failure(error.payload.retryable ? "unavailable" : "rejected", "The message was not sent.");
  }
  if (response.status >= 200 && response.status < 300) return response.status;
  throw failure(response.status >= 500 ? "unavailable" : "rejected", "The provider did not take the message.");
}

function remember(input) {
  try {
    state.set("last", input);
  } catch {
    throw failure("invalid-input", "The input cannot be remembered.");
  }
}
