import { Tabs } from "../ui/tabs";
import { History } from "./history";
import { Logits } from "./logits";
import type { Panel } from "./panel";
import { SweepTab } from "./sweep_tab";
import type { Tab } from "./types";

/** What stands below the texts: one view at a time. */
export function PanelTabs({ panel }: { panel: Panel }) {
  const open = panel.traits.tab.value;
  return (
    <Tabs<Tab>
      label="Views of this recipe"
      tabs={[
        { value: "logits", text: "Δ logits" },
        { value: "sweep", text: "Sweep" },
        { value: "history", text: "History", count: panel.traits.runs.value.length },
      ]}
      open={open}
      onOpen={(tab) => panel.openTab(tab)}
    >
      {open === "logits" && <Logits panel={panel} />}
      {open === "sweep" && <SweepTab panel={panel} />}
      {open === "history" && <History panel={panel} />}
    </Tabs>
  );
}
