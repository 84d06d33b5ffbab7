import { queryOptions, useQuery } from "@tanstack/react-query";

import { address } from "../../api/http";
import type { Artifact } from "../../api/messages";
import { Lines } from "../../parts/feedback";
import { Pairs } from "../../parts/Pairs";
import { bytes } from "../../words/number";
import { plain, sentence } from "../../words/text";
import classes from "./Preview.module.css";

const MOST_BYTES = 64 * 1024;
const MOST_LINES = 200;

interface Found {
  kind: "text" | "image" | "other";
  text: string;
  /** Bytes of the whole, if told. */
  size: number | null;
}

/** The beginning of what an artifact holds, and what its metadata says. HTML is shown as text: a component wrote it. */
export function Preview({ artifact }: { artifact: Artifact }) {
  const readable = /^(file|s3|gs):/.test(artifact.uri ?? "") && artifact.content !== "unavailable";
  const found = useQuery({ ...previewQuery(artifact.artifact_id), enabled: readable });
  return (
    <div className={classes["preview"]}>
      {readable ? <Content artifact={artifact} found={found.data} problem={found.error} /> : (
        <p className="muted">{artifact.content_error ? `Its content is not there: ${plain(artifact.content_error)}.` : "Its content is not passed on by the bridge; read it at its URI."}</p>
      )}
      <Pairs title="Metadata" values={artifact.metadata} />
    </div>
  );
}

function Content({ artifact, found, problem }: { artifact: Artifact; found: Found | undefined; problem: Error | null }) {
  const path = address(`/artifacts/${artifact.artifact_id}/content`);
  if (problem) return <p className="muted">{sentence(problem.message)}.</p>;
  if (!found) return <Lines number={1} height={80} />;
  if (found.kind === "image") return <img className={classes["image"]} src={path} alt={`Content of ${artifact.name ?? "the artifact"}`} />;
  if (found.kind === "other") return <p className="muted">Not text{found.size !== null && `, ${bytes(found.size)}`}. <a href={path}>Download</a></p>;
  const lines = found.text.split("\n");
  return (
    <>
      <pre tabIndex={0} role="group" aria-label="Beginning of the content">{plain(lines.slice(0, MOST_LINES).join("\n"))}</pre>
      {(lines.length > MOST_LINES || (found.size ?? 0) > MOST_BYTES) && <p className="muted small">The beginning{found.size !== null && ` of ${bytes(found.size)}`}. <a href={path}>Whole content</a></p>}
    </>
  );
}

function previewQuery(id: string) {
  return queryOptions({
    queryKey: ["preview", id],
    staleTime: 60_000,
    retry: false,
    queryFn: async ({ signal }): Promise<Found> => {
      const answer = await fetch(address(`/artifacts/${id}/content`), { headers: { Range: `bytes=0-${MOST_BYTES - 1}` }, signal });
      if (!answer.ok) throw new Error(((await answer.json()) as { detail: string }).detail);
      const size = Number(answer.headers.get("content-range")?.split("/")[1] ?? answer.headers.get("content-length")) || null;
      if (answer.headers.get("content-type")?.startsWith("image/")) return { kind: "image", text: "", size };
      const raw = new Uint8Array(await answer.arrayBuffer());
      return isText(raw) ? { kind: "text", text: new TextDecoder().decode(raw), size } : { kind: "other", text: "", size };
    },
  });
}

/** Text has no NUL, and few other control characters. */
function isText(raw: Uint8Array): boolean {
  const strange = raw.filter((byte) => byte < 32 && byte !== 9 && byte !== 10 && byte !== 13).length;
  return !raw.includes(0) && strange <= raw.length / 100;
}
