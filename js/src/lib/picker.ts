// The feature picker's state. One per model.
import { Bench } from "./bench";
import type { HostModel } from "./host";
import { Scores } from "./scores";
import { findLocally } from "./search";
import { EMPTY_BENCH } from "./types";

export class Picker extends Bench {
  readonly scores: Scores;

  constructor(model: HostModel, until: AbortSignal) {
    super(model, { empty: EMPTY_BENCH, findHere: findLocally }, until);
    this.scores = new Scores(this.finder, this.rpc, until);
  }
}
