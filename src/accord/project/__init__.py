"""A whole project: read, checked, compiled.

Receives: a folder, or the same declarations as Python data.  Hands on: a Project, or every fault at once.  Never: runs anything.
"""

from accord.flow.parts import DeclaredSystem
from accord.project.load import check_project, load_project
from accord.project.project import Project

__all__ = ["DeclaredSystem", "Project", "check_project", "load_project"]
