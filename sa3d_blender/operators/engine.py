"""The engine's operators in the preferences: install, cancel, repair, remove, test."""

from __future__ import annotations

from typing import Any

import bpy

from .. import engine_facts, installing, jobs, link, preferences
from ..client.install import Plan, plan
from ..client.installed import look
from ..protocol.errors import Sa3dError

__all__ = ["OFFLINE", "register", "unregister"]

OFFLINE = "Allow Online Access in Preferences > System > Network first"
WIDTH = 360


class _Managed:
    """Operators on the environment that the add-on installs."""

    @classmethod
    def poll(cls, _context: Any) -> bool:
        """Not while one of them is at it, nor while the engine works."""
        if installing.busy():
            cls.poll_message_set(f"{installing.title()} is under way")  # type: ignore[attr-defined]
            return False
        if jobs.running() is not None:
            cls.poll_message_set("The engine is at work: let it finish, or cancel it")  # type: ignore[attr-defined]
            return False
        return True


class _Installs(_Managed):
    """Operators that download and install; a registered operator can't be the base of another."""

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Needs the permission to go online as well."""
        if not bpy.app.online_access:
            cls.poll_message_set(OFFLINE)  # type: ignore[attr-defined]
            return False
        return super().poll(context)

    def invoke(self, context: Any, _event: Any) -> set[str]:
        """Says how much will come, and waits for a yes."""
        planned = self._plan()
        if isinstance(planned, Sa3dError):
            installing.refuse(planned)  # the page has room for it, a report has not
            return {"CANCELLED"}
        installing.refuse(None)
        self._download, self._disk = _size(planned.download_bytes), _size(planned.disk_bytes)
        self._folder = str(planned.folder)
        found: set[str] = context.window_manager.invoke_props_dialog(self, width=WIDTH, confirm_text="Install")
        return found

    def draw(self, _context: Any) -> None:
        """What the dialog says."""
        column = self.layout.column(  # type: ignore[attr-defined]
            align=True
        )
        column.label(text=f"{self._download} will be downloaded.", icon="IMPORT")
        column.label(text=f"Up to {self._disk} will be used in", icon="BLANK1")
        column.label(text=self._folder, icon="BLANK1")

    def execute(self, _context: Any) -> set[str]:
        """Begins, and doesn't wait."""
        if not bpy.app.online_access:  # it may have changed since the dialog opened
            self._refuse(OFFLINE)
            return {"CANCELLED"}
        planned = self._plan()
        if isinstance(planned, Sa3dError):
            installing.refuse(planned)
            self._refuse(f"{planned.what} {planned.cure}")
            return {"CANCELLED"}
        installing.start_install(planned)
        return {"FINISHED"}

    def _plan(self) -> Plan | Sa3dError:
        chosen = preferences.preferences()
        try:
            return plan(
                preferences.managed_folder(),
                preferences.source_folder(),
                chosen.torch_build,
                preferences.absolute(chosen.base_python),
                chosen.package_index,
            )
        except Sa3dError as fault:
            return fault

    def _refuse(self, why: str) -> None:
        self.report({"ERROR"}, why)  # type: ignore[attr-defined]


class SA3D_OT_install_engine(_Installs, bpy.types.Operator):
    """Download the engine's packages and install them in a folder of yours"""

    bl_idname = "sa3d.install_engine"
    bl_label = "Install Engine"


class SA3D_OT_repair_engine(_Installs, bpy.types.Operator):
    """Install the engine's packages anew, beside the old ones until they work"""

    bl_idname = "sa3d.repair_engine"
    bl_label = "Repair Engine"

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Needs something to repair."""
        if look(preferences.managed_folder()).state == "absent":
            cls.poll_message_set("There is no engine to repair")
            return False
        return super().poll(context)


class SA3D_OT_cancel_install(bpy.types.Operator):
    """Stop the installation and leave everything as it was before"""

    bl_idname = "sa3d.cancel_install"
    bl_label = "Cancel"

    @classmethod
    def poll(cls, _context: Any) -> bool:
        """Needs one that goes on."""
        if not installing.busy():
            cls.poll_message_set("Nothing is being installed")
        return installing.busy() and not installing.cancelling()

    def execute(self, _context: Any) -> set[str]:
        """Takes effect within a moment."""
        installing.cancel()
        return {"FINISHED"}


class SA3D_OT_remove_engine(_Managed, bpy.types.Operator):
    """Delete the installed engine from the disk. Trained captures, results and weights stay"""

    bl_idname = "sa3d.remove_engine"
    bl_label = "Remove Engine"

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Needs one."""
        if look(preferences.managed_folder()).state == "absent":
            cls.poll_message_set("No engine is installed")
            return False
        return super().poll(context)

    def invoke(self, context: Any, event: Any) -> set[str]:
        """Waits for a yes."""
        found: set[str] = context.window_manager.invoke_confirm(self, event)
        return found

    def execute(self, _context: Any) -> set[str]:
        """Begins, and doesn't wait."""
        if preferences.preferences().engine == "MANAGED":
            link.stop()
            engine_facts.forget()
        installing.start_remove(preferences.managed_folder())
        return {"FINISHED"}


class SA3D_OT_test_engine(bpy.types.Operator):
    """Start the engine as it is set up here and have it look at itself"""

    bl_idname = "sa3d.test_engine"
    bl_label = "Test Engine"

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Not while it works."""
        if engine_facts.facts.state == "starting":
            cls.poll_message_set("The engine is starting")
            return False
        if jobs.running() is not None or engine_facts.facts.getting:
            cls.poll_message_set("The engine is at work: let it finish, or cancel it")
            return False
        return True

    def execute(self, _context: Any) -> set[str]:
        """Doesn't wait: the page says how it goes."""
        engine_facts.test()
        return {"FINISHED"}


class SA3D_OT_install_log(bpy.types.Operator):
    """Show what the programs of the installation have said"""

    bl_idname = "sa3d.install_log"
    bl_label = "Copy Log"
    bl_description = "Copy what the programs of the installation have said, to be pasted into a message or a text"

    def execute(self, context: Any) -> set[str]:
        """Copies it: a text editor may not be at hand where preferences are open."""
        context.window_manager.clipboard = "\n".join(installing.log_lines())
        self.report({"INFO"}, f"{len(installing.log_lines())} lines copied")
        return {"FINISHED"}


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


CLASSES = (
    SA3D_OT_install_engine,
    SA3D_OT_repair_engine,
    SA3D_OT_cancel_install,
    SA3D_OT_remove_engine,
    SA3D_OT_test_engine,
    SA3D_OT_install_log,
)


def register() -> None:
    """Adds the operators."""
    for one in CLASSES:
        bpy.utils.register_class(one)


def unregister() -> None:
    """Takes them away again."""
    for one in reversed(CLASSES):
        bpy.utils.unregister_class(one)
