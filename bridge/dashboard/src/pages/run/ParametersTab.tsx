import type { Run } from "../../api/messages";
import { Pairs } from "../../parts/Pairs";

/** What the run was given, and its labels. */
export default function ParametersTab({ run }: { run: Run }) {
  return (
    <>
      <Pairs values={run.arguments} none="The pipeline was run with its defaults." />
      {Object.keys(run.labels).length > 0 && <Pairs title="Labels" values={run.labels} />}
    </>
  );
}
