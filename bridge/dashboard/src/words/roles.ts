/** What somebody may do, and in words why not. The service decides; this says so before a button is pressed. */
export type Role = "viewer" | "submitter" | "operator" | "admin";
export type Action = "submit" | "operate";

interface Who {
  name: string;
  roles: Readonly<Record<string, string>>;
}

export const EVERY = "*";
const RANKS: readonly string[] = ["viewer", "submitter", "operator", "admin"];
const LEAST: Record<Action, Role> = { submit: "submitter", operate: "operator" };
export const MEANINGS: Record<Role, string> = {
  viewer: "see everything",
  submitter: "see everything; submit, cancel, retry and reproduce runs",
  operator: "also have Airflow clear tasks, move aliases, see webhooks, release what is set aside and, in all projects, pause backends",
  admin: "also make and change webhooks",
};

/** Their role in a project, the higher of its own and that in all; `null`: none. */
export function roleIn(who: Who, project: string): string | null {
  const found = [who.roles[project], who.roles[EVERY]].filter((one) => one !== undefined);
  return found.reduce<string | null>((best, one) => (best === null || RANKS.indexOf(one) > RANKS.indexOf(best) ? one : best), null);
}

/** Why they may not do that anywhere; `null` if they may in some project, or if nobody is known yet. */
export function refusalAnywhere(who: Who | undefined, action: Action): string | null {
  const some = who && Object.values(who.roles).some((role) => RANKS.indexOf(role) >= RANKS.indexOf(LEAST[action]));
  return !who || some ? null : `You may not do this in any project; it takes ${LEAST[action]}.`;
}

/** Why they may not do that in each of the projects; `null` if they may, or if nobody is known yet. */
export function refusal(who: Who | undefined, action: Action, projects: readonly string[]): string | null {
  if (!who) return null;
  for (const project of projects) {
    const role = roleIn(who, project);
    if (role !== null && RANKS.indexOf(role) >= RANKS.indexOf(LEAST[action])) continue;
    const where = project === EVERY ? "all projects together" : `project ${project}`;
    const has = role === null ? "have no role" : `are ${role}`;
    return `You ${has} in ${where}; this takes ${LEAST[action]}.`;
  }
  return null;
}
