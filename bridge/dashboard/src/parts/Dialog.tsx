import { Modal, type MantineSize } from "@mantine/core";
import type { ReactNode } from "react";

import classes from "./Dialog.module.css";

/** A dialog above the page. Its head is no `header`, which would be a second banner of the document. */
export function Dialog({ title, close, size = "sm", children }: { title: string; close: () => void; size?: MantineSize; children: ReactNode }) {
  return (
    <Modal.Root opened onClose={close} size={size}>
      <Modal.Overlay />
      <Modal.Content>
        <div className={classes["head"]}>
          <Modal.Title>{title}</Modal.Title>
          <Modal.CloseButton aria-label="Close" />
        </div>
        <Modal.Body>{children}</Modal.Body>
      </Modal.Content>
    </Modal.Root>
  );
}
