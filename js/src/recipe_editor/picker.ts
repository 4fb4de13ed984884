// The feature picker's state. One per model.

import type { HostModel } from "../host/host";
import { EMPTY_BENCH } from "../host/types";
import { Bench } from "./bench";
import { Scores } from "./scores";
import { findLocally } from "./search";

export class Picker extends Bench {
  readonly scores: Scores;

  constructor(model: HostModel, until: AbortSignal) {
    super(model, { empty: EMPTY_BENCH, findHere: findLocally }, until);
    this.scores = new Scores(this.finder, this.rpc, until);
  }
}
