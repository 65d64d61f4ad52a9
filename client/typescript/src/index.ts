/** A participant of secagg rounds, for Node and browsers. `secagg-client/grpc` and `secagg-client/node` are for Node alone. */
export { Client, type ClientOptions, type Participation, type RoundResult } from "./client.js";
export { type Policy, type Round, acceptOffer } from "./config.js";
export { type Update, encode } from "./encoding.js";
export * from "./errors.js";
export { CallFailed } from "./failures.js";
export { type GatewayOptions, GatewayTransport } from "./gateway.js";
export type { Kept, StateStore } from "./kept.js";
export { Memory, type Sum } from "./memory.js";
export { type ModelArray, digestModel } from "./model.js";
export type { MessageName, Seen, Setup } from "./participant.js";
export { type Random, Secret, systemRandom } from "./primitives.js";
export { type Decoded, type Receipt, believe } from "./results.js";
export { SavableParticipant, type StateKeys, type StateName } from "./saved.js";
export type { CallOptions, Retry, Transport } from "./transport.js";
