import "./failure.css";
import { Button } from "./button";

export function Failure({ sentence, onDismiss }: { sentence: string; onDismiss(): void }) {
  return (
    <div class="sw-failure" role="alert">
      <p>{sentence}</p>
      <Button kind="small" onClick={onDismiss}>
        Dismiss
      </Button>
    </div>
  );
}
